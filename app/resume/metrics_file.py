"""``metrics.csv``: every logged number in one plain table that needs no service, complete over resumed sessions."""

from __future__ import annotations

import csv
import errno
import io
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from ..errors import RunStopped, UserError
from ..files import replacing
from ..run_files import metric_lines
from .checkpoint import not_written

Row = dict[str, str]
"""Numbers by name, as they are written."""
PIECE_BYTES = 2**20
REMEDY = "put it back, or go on in a new folder with ckpt=<checkpoint> out=<folder>"
SAVE_EVERY_S = 5.0
"""What a killed run may miss in its file; up to its last checkpoint nothing is missing."""


class MetricsFile(Logger):
    """A Lightning logger with a row for each step at which something was logged, and a column for each metric.

    Only rows that may still change are in memory, so that it does not grow with the length of a run: when the table is
    written, everything before its newest row is copied from the file that it replaces.

    Args:
        path: the file.
        resume_step: of a run that goes on: rows before it stay, those from it on will be logged again.
        known: what the checkpoint that the run goes on from knows of the table, see :meth:`record`; None for nothing.

    Raises:
        UserError: the file that is to go on is no such table, or not the one that the checkpoint knows.
    """

    def __init__(self, path: Path, resume_step: int | None = None, known: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.path = path
        self._rows: dict[int, Row] = {}
        self._names: list[str] = []
        self._kept_bytes = self._kept_rows = self._kept_crc = 0
        self._changed = resume_step is not None
        self._saved_s = time.monotonic()
        if resume_step is None or not (path.exists() or known):
            return
        try:
            self._keep(resume_step, known)
        except FileNotFoundError:
            raise UserError(self._not_known("it is missing")) from None
        except (ValueError, csv.Error):
            raise UserError(f"{path} is no table of metrics (any more); {REMEDY}") from None
        if known and known["rows"] and (trouble := self._unlike(known)):
            raise UserError(self._not_known(trouble))

    def _keep(self, step: int, known: dict[str, Any] | None) -> None:
        """Take over the rows of the file that the checkpoint knows, or else those before its step.

        The newest of them may still change; in the file it may have done so already.
        """
        rows = known["rows"] if known else None
        if rows == 0:
            return
        with self.path.open("rb") as file:
            self._names, lines = metric_lines(line.decode() for line in iter(file.readline, b""))
            begin, end = 0, file.tell()
            while rows is None or self._kept_rows + len(self._rows) < rows:
                line = next(lines, ())
                if line is None:
                    raise ValueError("a line of another kind")
                if not line or (rows is None and line[0] >= step):
                    break
                self._fix()
                self._rows = dict([line])
                begin, end = end, file.tell()
        self._kept_bytes = begin

    def _unlike(self, known: dict[str, Any]) -> str | None:
        """In what the table is not the one that the checkpoint knows; else its newest row is as it was then."""
        kept = self._kept_rows + len(self._rows)
        if kept < known["rows"]:
            return f"it ends after row {kept} of {known['rows']}"
        ((step, row),) = self._rows.items()
        changed = any(row.get(name) != value for name, value in known["newest"].items())
        if changed or (step, self._kept_crc) != (known["step"], known["crc"]):
            return f"its first {kept} rows are not those of then"
        self._rows = {step: dict(known["newest"])}
        return None

    def _not_known(self, what: str) -> str:
        return f"{self.path} is not the table that the checkpoint was written with: {what}; {REMEDY}"

    def _steps(self) -> tuple[list[int], int | None]:
        """The steps of all rows but the newest, and that; None without rows."""
        steps = sorted(self._rows)
        return steps[:-1], steps[-1] if steps else None

    def record(self) -> dict[str, Any]:
        """What a checkpoint has to know of the table: the number of rows, a CRC-32 of all but the newest, and that."""
        before, newest = self._steps()
        return {
            "rows": self._kept_rows + len(self._rows),
            "crc": _crc(self._kept_crc, ((step, self._rows[step]) for step in before)),
            "step": newest,
            "newest": {} if newest is None else dict(self._rows[newest]),
        }

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> int:
        """There is one file in a run's folder."""
        return 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of a step."""
        step = step or 0
        if self._kept_bytes and step < min(self._rows):
            self._take_all()
        self._rows.setdefault(step, {}).update({name: _text(value) for name, value in metrics.items()})
        self._changed = True
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def rows(self) -> Iterator[tuple[int, Row]]:
        """All rows with their steps in order, those in the file and those that are not yet."""
        if self._kept_bytes:
            with self.path.open(newline="", encoding="utf-8") as file:
                yield from filter(None, metric_lines(_first_bytes(file, self._kept_bytes))[1])
        yield from sorted(self._rows.items())

    def _take_all(self) -> None:
        self._rows = dict(self.rows())
        self._kept_bytes = self._kept_rows = self._kept_crc = 0

    def _fix(self) -> None:
        """The rows in memory are final: count them among those that are kept in the file."""
        rows, self._rows = sorted(self._rows.items()), {}
        self._kept_rows, self._kept_crc = self._kept_rows + len(rows), _crc(self._kept_crc, rows)

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
        before, newest = self._steps()
        head = b"" if self._kept_bytes else self._lines([], header=True)
        fixed = head + self._lines(before)
        with replacing(self.path, "wb") as file:
            _copy(self.path, file, self._kept_bytes)
            file.write(fixed + self._lines([] if newest is None else [newest]))
        if newest is not None:
            row = self._rows.pop(newest)
            self._fix()
            self._rows, self._kept_bytes = {newest: row}, self._kept_bytes + len(fixed)

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


def _text(value: float) -> str:
    """A number as the table has it, from which the same number can be read."""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _crc(crc: int, rows: Iterable[tuple[int, Row]]) -> int:
    """CRC-32 of rows, whatever columns other rows have, going on from that of the rows before them."""
    for step, row in rows:
        crc = zlib.crc32(repr((step, sorted(row.items()))).encode(), crc)
    return crc
