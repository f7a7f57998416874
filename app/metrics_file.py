"""``metrics.csv``: every logged number in one plain table that needs no service, complete over resumed sessions."""

from __future__ import annotations

import csv
import errno
import io
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from .checkpoint import not_written
from .errors import RunStopped, UserError
from .files import replacing

Row = dict[str, Any]
PIECE_BYTES = 2**20
SAVE_EVERY_S = 5.0
"""What a killed run may miss in its file; up to its last checkpoint nothing is missing."""


class MetricsFile(Logger):
    """A Lightning logger with a row for each step at which something was logged, and a column for each metric.

    Only rows that may still change are in memory, so that it does not grow with the length of a run: when the table is
    written, everything before its newest row is copied from the file that it replaces.

    Args:
        path: the file.
        resume_step: of a run that goes on: rows before it stay, those from it on will be logged again.

    Raises:
        UserError: the file that is to go on is no such table.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self._rows: dict[int, Row] = {}
        self._names: list[str] = []
        self._kept_bytes = 0
        self._changed = resume_step is not None
        self._saved_s = time.monotonic()
        if resume_step is not None and path.exists():
            try:
                self._keep_before(resume_step)
            except ValueError:
                raise UserError(f"{path} is no table of metrics (any more); mend it or move it away") from None

    def _keep_before(self, step: int) -> None:
        """Take over the rows of the file before a step; the newest of them may still change."""
        with self.path.open("rb") as file:
            head = file.readline()
            first, second, *self._names = next(csv.reader([head.decode()]), ("", ""))
            if (first, second) != ("step", "epoch"):
                raise ValueError(head)
            begin, end, newest = 0, len(head), b""
            while (line := file.readline()) and int(line.split(b",")[0]) < step:
                begin, end, newest = end, end + len(line), line
        if newest:
            self._rows = dict(_read([head.decode(), newest.decode()]))
            self._kept_bytes = begin

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> int:
        """There is one file in a run's folder."""
        return 0

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add numbers to the row of a step."""
        step = step or 0
        if self._kept_bytes and step < min(self._rows):
            self._take_all()
        self._rows.setdefault(step, {}).update(metrics)
        self._changed = True
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def rows(self) -> Iterator[tuple[int, Row]]:
        """All rows with their steps in order, those in the file and those that are not yet; numbers may be text."""
        if self._kept_bytes:
            with self.path.open(newline="", encoding="utf-8") as file:
                yield from _read(_first_bytes(file, self._kept_bytes))
        yield from sorted(self._rows.items())

    def _take_all(self) -> None:
        self._rows, self._kept_bytes = dict(self.rows()), 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds the settings."""

    @rank_zero_only
    def save(self) -> None:
        """Write the table, replacing the old one at once.

        Raises:
            RunStopped: it cannot be written.
        """
        if not self._changed:
            return
        try:
            self._write()
        except OSError as error:
            raise RunStopped(not_written(self.path, error)) from None
        self._changed, self._saved_s = False, time.monotonic()

    def _write(self) -> None:
        if {name for row in self._rows.values() for name in row} - {*self._names, "epoch"}:  # a new column for all
            self._take_all()
            self._names = sorted({name for row in self._rows.values() for name in row} - {"epoch"})
        *before, newest = sorted(self._rows) or [None]
        head = b"" if self._kept_bytes else self._lines([], header=True)
        fixed = head + self._lines(before)
        with replacing(self.path, "wb") as file:
            _copy(self.path, file, self._kept_bytes)
            file.write(fixed + self._lines([newest] if self._rows else []))
        if self._rows:
            self._rows, self._kept_bytes = {newest: self._rows[newest]}, self._kept_bytes + len(fixed)

    def _lines(self, steps: list[int], header: bool = False) -> bytes:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, ["step", "epoch", *self._names])
        if header:
            table.writeheader()
        table.writerows({"step": step, **self._rows[step]} for step in steps)
        return text.getvalue().encode()

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _copy(path: Path, file: IO[bytes], size: int) -> None:
    """Write the first bytes of a file into another one, a piece at a time."""
    if size:
        with path.open("rb") as old:
            while size and (piece := old.read(min(size, PIECE_BYTES))):
                file.write(piece)
                size -= len(piece)
        if size:
            raise OSError(errno.ENODATA, "something else has cut it")


def _first_bytes(lines: Iterable[str], size: int) -> Iterator[str]:
    """The lines in the first bytes of a file."""
    for line in lines:
        size -= len(line.encode())
        if size < 0:
            return
        yield line


def _read(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """Steps and rows of a table without its empty cells."""
    for row in csv.DictReader(lines):
        yield int(row.pop("step")), {name: value for name, value in row.items() if value not in ("", None)}
