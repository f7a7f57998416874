"""Golden files (``.npz``): numbers of independent implementations, found, read and compared."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from .errors import UserError

LARGEST_BYTES = 2**30
"""Of an unpacked golden file."""


def golden_files(paths: list[str]) -> list[Path]:
    """All ``.npz`` files named, or lying in folders named.

    Raises:
        UserError: a path does not exist, or holds no golden file.
    """
    files: list[Path] = []
    for name in paths:
        path = Path(name)
        found = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not found or not found[0].exists():
            raise UserError(f"{path}: no golden file (.npz) here; name a file or a folder of them")
        files += found
    return files


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file; one never unpacks to more bytes than the file says, and objects are not unpickled.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with refused(path):
        with zipfile.ZipFile(path) as archive:
            if (size := sum(part.file_size for part in archive.infolist())) > LARGEST_BYTES:
                raise ValueError(f"it would unpack to {size} bytes")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """What damaged bytes raise on their way through zipfile, zlib, numpy and json - anything - in one sentence."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as a golden file (.npz): {reason}; use another one") from None


def relative_error(actual: Tensor, golden: Tensor) -> float:
    """‖actual − golden‖ / ‖golden‖ in float64, or ‖actual‖ where the golden array is zero."""
    actual, golden = actual.double(), golden.double()
    norm = golden.norm()
    error = (actual - golden).norm() / norm if norm > 0 else actual.norm()
    return float(error) if math.isfinite(error) else math.inf
