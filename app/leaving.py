"""The end of a command, at once. Python would take down every module first, seconds behind the last line."""

from __future__ import annotations

import atexit
import gc
import io
import os
from contextlib import suppress

_code: int | None = None


def ends_with(code: int) -> None:
    """This process ends with an exit code as soon as all that is to be called at its exit has been called."""
    global _code
    _code = code


def prepare() -> None:
    """To be called before anything is imported that wants to be called at the exit."""
    atexit.register(_leave)


def _leave() -> None:
    if _code is None:  # somebody else's process: a notebook, a test
        return
    files = [one for one in gc.get_objects() if type(one) in (io.TextIOWrapper, io.BufferedWriter)]
    for one in sorted(files, key=lambda one: type(one) is io.BufferedWriter):  # text before the bytes below it
        with suppress(OSError, ValueError):  # ValueError: it is closed, as all are that were looked after
            one.flush()
    os._exit(_code)
