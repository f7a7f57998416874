"""What a run achieved: its validation curves, its best epoch by validation, its test numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .runs import STEP, Run

Point = tuple[float, float]
CURVE_POINTS = 160
"""A longer curve is thinned to about so many points for a page."""
OWN_KEYS = ("config", "seed", "out", "ckpt", "checkpoint_every_s", "engine", "code_version", "tracking", "probes")
OWN_DOTTED_KEYS = {
    *("data.fold", "data.root", "data.cache", "data.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *("trainer.strategy", "trainer.enable_progress_bar", "trainer.log_every_n_steps", "trainer.profiler"),
    *("trainer.detect_anomaly", "trainer.deterministic", "trainer.num_sanity_val_steps"),
}
"""What may differ between trials of one setting."""


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
        """Whether the first value beats the second; NaN never does."""
        return self.sign * one > self.sign * other


def measure_of(task: str, readout: str) -> Measure:
    """What validation chooses by, as training does: accuracy, or the loss in a task without labels."""
    return Measure("loss", -1) if task == "spike_trains" else Measure(f"accuracy_{readout}", 1)


@dataclass(frozen=True)
class Result:
    """A run in numbers.

    Args:
        run: the run itself.
        settings: its configuration by dotted key.
        measure: what its best epoch is chosen by.
        curves: points (epoch, value) of every metric ``val/…`` and ``train/…`` that is a number per epoch.
        best: the metrics of the best epoch by validation, without ``val/``; with ``epoch``.
        test: the metrics of the test split, without ``test/``; empty while it was not read.
    """

    run: Run
    settings: dict[str, Any]
    measure: Measure
    curves: dict[str, list[Point]]
    best: dict[str, float]
    test: dict[str, float]

    @property
    def task(self) -> str:
        """What was learned."""
        return str(self.settings["task"])

    @property
    def rule(self) -> str:
        """The learning rule."""
        return str(self.settings["rule"])

    @property
    def seed(self) -> int:
        """Which trial."""
        return int(self.settings["seed"])

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.run.state == "finished"

    @property
    def epochs(self) -> float:
        """Epochs trained."""
        return max((points[-1][0] for points in self.curves.values() if points), default=0)

    @property
    def train_s(self) -> float | None:
        """Seconds of training; None before the end."""
        return self.run.summary.get("train_s")

    def setting(self) -> dict[str, str]:
        """What all trials of one setting have in common, by dotted key."""
        return {key: repr(value) for key, value in self.settings.items() if _counts(key)}


def _counts(key: str) -> bool:
    return key.split(".")[0] not in OWN_KEYS and key not in OWN_DOTTED_KEYS


def is_of_this_project(run: Run) -> bool:
    """Whether a run says what it learned, by which rule and with which seed."""
    return all(key in run.config for key in ("task", "rule", "seed"))


def result_of(run: Run) -> Result:
    """Read a run's numbers."""
    rows = _rows_by_step(run.history)
    settings = dict(flatten(run.config))
    measure = measure_of(settings["task"], settings.get("readout") or "first")
    names = sorted({name for row in rows for name in row if name.startswith(("val/", "train/"))})
    curves = {name: _curve(rows, name) for name in names if "/class" not in name and not name.endswith("_step")}
    best, test = best_validation(rows, measure), _of_split("test", run.summary)
    for values, prefix in ((curves, "val/"), (curves, "train/"), (best, ""), (test, "")):
        _add_own_accuracy(values, prefix, measure)
    return Result(run, settings, measure, curves, best, test)


def _add_own_accuracy(values: dict[str, Any], prefix: str, measure: Measure) -> None:
    """``accuracy``: by the run's own readout, so that rules with different readouts can be compared."""
    if f"{prefix}{measure.name}" in values and measure.name.startswith("accuracy"):
        values[f"{prefix}accuracy"] = values[f"{prefix}{measure.name}"]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested settings by dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _rows_by_step(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each step, in order."""
    rows: dict[int, dict[str, Any]] = {}
    for row in history:
        rows.setdefault(row.get(STEP, -1), {}).update(row)
    return [rows[step] for step in sorted(rows)]


def _curve(rows: list[dict[str, Any]], name: str) -> list[Point]:
    """The values of a metric over epochs trained; the k-th of n values in an epoch stands at its k/n."""
    logged = [(row["epoch"], row[name]) for row in rows if "epoch" in row and _is_number(row.get(name))]
    per_epoch, seen, points = Counter(epoch for epoch, _ in logged), Counter(), []
    for epoch, value in logged:
        seen[epoch] += 1
        points.append((epoch + seen[epoch] / per_epoch[epoch], float(value)))
    return points


def best_validation(rows: Iterable[dict[str, Any]], measure: Measure) -> dict[str, float]:
    """The validation metrics of the first row with the best value, without ``val/``; empty without validation.

    Args:
        rows: logged rows in order, with ``epoch`` and ``val/…``.
        measure: what is compared.
    """
    best: dict[str, Any] = {}
    for row in rows:
        value = row.get(f"val/{measure.name}")
        if _is_number(value) and (not best or measure.better(value, best[f"val/{measure.name}"])):
            best = row
    return _of_split("val", best) | ({"epoch": best["epoch"] + 1} if best else {})


def _of_split(split: str, values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a split, without its name."""
    prefix = f"{split}/"
    return {k.removeprefix(prefix): float(v) for k, v in values.items() if k.startswith(prefix) and _is_number(v)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def thin(points: list[Any], most: int = CURVE_POINTS) -> list[Any]:
    """Every k-th point, and the last one."""
    stride = math.ceil(len(points) / most) or 1
    kept = points[::stride]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]
