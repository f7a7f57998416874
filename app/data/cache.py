"""EventArrays on disk: one file, written atomically, checked by CRC-32 on loading, mapped instead of read.

Layout: offsets, labels, steps and neurons in NumPy's .npy format, one behind the other, then the CRC-32 of all that.
"""

from __future__ import annotations

import logging
import os
import secrets
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import UserError
from .event_arrays import EventArrays

CRC_BYTES = 4
_LOG = logging.getLogger(__name__)


def cached_arrays(path: Path, build: Callable[[], EventArrays]) -> EventArrays:
    """The arrays in the file, mapped; built and saved first if the file is missing or damaged.

    Raises:
        UserError: if the file cannot be written.
    """
    if path.exists():
        if _is_intact(path):
            return _map_arrays(path)
        _LOG.warning("the cache file %s is damaged: it is built again", path)
    save_arrays(path, build())
    return _map_arrays(path)


def save_arrays(path: Path, arrays: EventArrays) -> None:
    """Write a temporary file beside ``path`` and move it there, so that no other process sees half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            for array in (arrays.offsets_S1, arrays.label_S, arrays.steps_E, arrays.neurons_E):
                np.save(file, array, allow_pickle=False)
            file.flush()
            file.write(zlib.crc32(np.memmap(temporary, np.uint8, "r").data).to_bytes(CRC_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"the cache {path} cannot be written ({error}): set data.cache to a writable folder with enough space."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_intact(path: Path) -> bool:
    """Whether the file ends in the checksum of all that comes before."""
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):
        return False
    return len(content) > CRC_BYTES and zlib.crc32(content[:-CRC_BYTES].data) == int.from_bytes(
        content[-CRC_BYTES:].tobytes()
    )


def _map_arrays(path: Path) -> EventArrays:
    with path.open("rb") as file:
        offsets_S1, label_S, steps_E, neurons_E = (_map_next(file, path) for _ in range(4))
    return EventArrays(steps_E, neurons_E, offsets_S1, label_S)


def _map_next(file: BinaryIO, path: Path) -> np.ndarray:
    """Map the one-dimensional array at the file's position, and move the position behind it."""
    assert np.lib.format.read_magic(file) == (1, 0)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    file.seek(start + shape[0] * dtype.itemsize)
    return np.memmap(path, dtype, "r", start, shape) if shape[0] else np.empty(0, dtype)
