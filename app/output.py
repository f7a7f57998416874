"""What a command prints never ends its work: characters that a terminal lacks are written otherwise, text that nobody
takes is dropped.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIKENESS = "likeness"
"""Name of the error handler for characters that an encoding lacks."""
PLAIN = {"…": "...", "–": "-", "−": "-", "±": "+/-", "→": "->", "×": "x", "·": "*", "∗": "*", "≤": "<=", "≥": ">="}
PLAIN |= {"²": "^2", "√": "sqrt", "‖": "||", "Σ": "sum", "∫": "integral", "µ": "u", "λ": "lambda"}


def _like(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that cannot be encoded: something alike, a Greek letter's name, or its code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_alike, error.object[error.start : error.end])), error.end


def _alike(char: str) -> str:
    name = unicodedata.name(char, "")
    if char in PLAIN:
        return PLAIN[char]
    if name.startswith("GREEK SMALL LETTER "):
        return name.rpartition(" ")[2].lower()
    return char.encode("ascii", "backslashreplace").decode()


codecs.register_error(LIKENESS, _like)


class _Lasting(io.FileIO):
    """A file descriptor to write to, whose reader may leave and whose disk may be full.

    Args:
        handle: standard output or standard error.
    """

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "w", closefd=False)
        self.loss: OSError | None = None
        self.is_said = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or from the first failure on drop what comes; that is said when there is more to drop."""
        if self.loss is None:
            try:
                return self._write(data)
            except OSError as error:
                self.loss = error
                self._lead_nowhere()
        elif not self.is_said and bytes(data).strip():
            self.is_said = True
            print(f"warning: {self.told()}; what is printed there is dropped from here on", file=sys.stderr, flush=True)
        return memoryview(data).nbytes

    def _write(self, data: ReadableBuffer) -> int:
        while (written := super().write(data)) is None:  # a pipe that does not block, and is full
            select.select([], [self], [])
        return written

    def _lead_nowhere(self) -> None:
        """Let the same descriptor, which other processes and libraries have too, take everything."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)

    def told(self) -> str:
        """What has happened, in words."""
        if self.was_left:
            return "the reader of standard output has left"
        return f"standard output cannot be written ({self.loss.strerror if self.loss else 'not at all'})"

    @property
    def was_left(self) -> bool:
        """Whether the reader of a pipe has gone, which is no failure."""
        return self.loss is not None and self.loss.errno in (errno.EPIPE, errno.EINVAL)  # EINVAL: so says Windows


def make_lasting() -> None:
    """Let this process print to streams that no character and no reader can break; captured ones stay as they are."""
    for handle in range(3):
        _open_if_closed(handle)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lasting(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr, 2)


def failure() -> str | None:
    """Why standard output holds less than was printed there; None if it was taken, or its reader did not want more."""
    sys.stdout.flush()
    raw = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer) if hasattr(sys.stdout, "buffer") else None
    return raw.told() if isinstance(raw, _Lasting) and raw.loss and not raw.was_left else None


def _open_if_closed(handle: int) -> None:
    """A closed standard stream leads nowhere; otherwise the next file to be opened would take its place."""
    try:
        os.fstat(handle)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != handle:
            os.dup2(nowhere, handle)
            os.close(nowhere)


def _lasting(before: TextIO | None, handle: int) -> TextIO:
    raw = _Lasting(handle)
    if before is None:  # it was closed when Python started
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", LIKENESS)
    assert isinstance(before, io.TextIOWrapper)  # as Python opens its standard streams
    before.flush()
    unbuffered = before.write_through
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        before.encoding,
        LIKENESS,
        line_buffering=before.line_buffering,
        write_through=unbuffered,
    )
