"""What validation chooses by, and the epoch that it chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """What the best epoch is chosen by.

    Args:
        name: a metric of a split, for example ``accuracy_first``.
        sign: 1 if more is better, −1 if less is.
    """

    name: str
    sign: int

    def better(self, one: float, other: float) -> bool:
        """Whether the first value beats the second; NaN never does, and never stands in the way."""
        return self.sign * one > self.sign * other or (other != other and one == one)


def measure_of(has_labels: bool, readout: str) -> Measure:
    """What validation chooses by, as training does: accuracy, or the loss in a task without labels."""
    return Measure(f"accuracy_{readout}", 1) if has_labels else Measure("loss", -1)


def best_validation(rows: Iterable[Mapping[str, Any]], measure: Measure) -> dict[str, float]:
    """The validation metrics of the first row with the best value, without ``val/``; empty without validation.

    Args:
        rows: logged rows in order, with ``epoch`` and ``val/…``, as :func:`app.run_files.read_metrics` gives them.
        measure: what is compared.
    """
    name, best = f"val/{measure.name}", None
    for row in rows:
        if "epoch" in row and name in row and (best is None or measure.better(row[name], best[name])):
            best = row
    if best is None:
        return {}
    return {k.removeprefix("val/"): v for k, v in best.items() if k.startswith("val/")} | {"epoch": best["epoch"] + 1}
