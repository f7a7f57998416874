"""``metrics.csv``: every logged number in one plain table that needs no service, complete over resumed sessions."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from app.checkpoint import not_written
from app.errors import RunStopped
from app.files import replacing

SAVE_EVERY_S = 5.0
"""What a killed run may miss in its file; up to its last checkpoint nothing is missing."""


class MetricsFile(Logger):
    """A Lightning logger with a row for each step at which something was logged, and a column for each metric.

    Args:
        path: the file.
        resume: keep what the file holds; :meth:`forget_from` then drops what a resumed run will log again.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, Any]] = _read(path) if resume and path.exists() else {}
        self._changed = False
        self._saved_s = time.monotonic()

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
        self.rows.setdefault(step or 0, {}).update(metrics)
        self._changed = True
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds the settings."""

    def forget_from(self, step: int) -> None:
        """Drop the rows from a step on: a run resumed there logs them again."""
        self.rows = {s: row for s, row in self.rows.items() if s < step}
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        """Write the table, replacing the old one at once.

        Raises:
            RunStopped: it cannot be written.
        """
        if not self._changed:
            return
        names = ["epoch", *sorted({name for row in self.rows.values() for name in row} - {"epoch"})]
        try:
            with replacing(self.path, newline="") as file:
                writer = csv.DictWriter(file, ["step", *names])
                writer.writeheader()
                writer.writerows({"step": step, **self.rows[step]} for step in sorted(self.rows))
        except OSError as error:
            raise RunStopped(not_written(self.path, error)) from None
        self._changed, self._saved_s = False, time.monotonic()

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _read(path: Path) -> dict[int, dict[str, Any]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row.pop("step")): {k: v for k, v in row.items() if v not in ("", None)} for row in rows}
