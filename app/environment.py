"""What a user's machine has set that must not stop us, seen to before torch, numba and matplotlib are imported."""

from __future__ import annotations

import logging
import os
import re
import sys

FOLDER_NOTICES = ("mkdir -p failed for", "is not a writable directory", "created a temporary cache directory")
"""How matplotlib says that it could not write to the home directory, which is no concern of ours."""


def prepare() -> None:
    """Called once, by ``import app``; your own settings win where they can be used."""
    # PyTorch's OpenMP threads spin while they wait. Beside any other busy process that makes the steps here, of a few
    # milliseconds, several times slower; asleep they cost nothing. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if re.fullmatch(r"\s*(-\d+|0+)\s*", os.environ.get("NUMBA_NUM_THREADS", "")):
        del os.environ["NUMBA_NUM_THREADS"]  # numba cannot be imported with it; our kernels do not use its threads
    logging.getLogger("matplotlib").addFilter(_is_of_concern)
    if "MPLBACKEND" in os.environ and "matplotlib" not in sys.modules:
        _try_backend()


def _is_of_concern(record: logging.LogRecord) -> bool:
    return not any(text in str(record.msg) for text in FOLDER_NOTICES)


def _try_backend() -> None:
    """Forget a backend that matplotlib lacks, such as a notebook's, with which it cannot even be imported."""
    backend = os.environ.pop("MPLBACKEND")
    import matplotlib

    try:
        matplotlib.rcParams["backend"] = backend
    except ValueError:
        return
    os.environ["MPLBACKEND"] = backend
