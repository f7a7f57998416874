"""Keep freed memory in the process: a training step frees and asks for the same few megabytes over and over.

By default glibc gives large blocks back to the system at once; getting them again costs a page fault per 4 KiB, in all
a third of a fast training step (measured: 5.3 → 3.5 ms for 784-800-10, T = 300, batch 16).
"""

from __future__ import annotations

import ctypes
import functools
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 28


@functools.cache
def keep_freed_memory() -> bool:
    """Ask the allocator for it, once; False where it is not glibc or the user has set ``MALLOC_…`` variables."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEPT_BYTES) and mallopt(TRIM_THRESHOLD, KEPT_BYTES))
