"""``metrics.csv``: every logged number in one plain table that needs no service, complete over resumed sessions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger


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

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds the settings."""

    def forget_from(self, step: int) -> None:
        """Drop the rows from a step on: a run resumed there logs them again."""
        self.rows = {s: row for s, row in self.rows.items() if s < step}
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        """Write the table, replacing the old one at once."""
        if not self._changed:
            return
        names = ["epoch", *sorted({name for row in self.rows.values() for name in row} - {"epoch"})]
        partial = self.path.with_suffix(".csv.part")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", *names])
            writer.writeheader()
            writer.writerows({"step": step, **self.rows[step]} for step in sorted(self.rows))
        partial.replace(self.path)
        self._changed = False

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def _read(path: Path) -> dict[int, dict[str, Any]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row.pop("step")): {k: v for k, v in row.items() if v not in ("", None)} for row in rows}
