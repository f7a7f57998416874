"""How kernels are compiled: once for a machine, with a cache on disk, and said when it takes time."""

from __future__ import annotations

import sys
from typing import Any

from numba import njit
from numba.core import event


class _Announcement(event.Listener):
    """One line on stderr when the first kernel has to be compiled, for that takes some seconds."""

    def __init__(self) -> None:
        self.silent = False

    def on_start(self, event: event.Event) -> None:
        """Called by numba before it compiles anything that the disk cache does not hold."""
        if not self.silent and event.data["dispatcher"].py_func.__module__.startswith(f"{__package__}."):
            self.silent = True
            print("compiling the numba kernels, once for this machine (about 10 s) ...", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcement())


def kernel(**options: Any):
    """Compile with a cache on disk, or without one where no directory for it is writable."""

    def compile_(function):
        try:
            return njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:
            return njit(nogil=True, error_model="numpy", **options)(function)

    return compile_
