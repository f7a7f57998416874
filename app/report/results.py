"""What a run achieved: its validation curves, its best epoch by validation, its test numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..best import Measure, best_validation, measure_of
from ..data.tasks import TASKS
from ..run_files import Row, is_number
from ..runs import Run

Point = tuple[float, float]
CURVE_POINTS = 160
"""A longer curve is thinned to about so many points for a page."""
OWN_KEYS = (
    "config",
    "seed",
    "out",
    "ckpt",
    "checkpoint_every_s",
    "keep_after_epochs",
    "engine",
    "code_version",
    "data_fingerprint",
    "runs_on",
    "tracking",
    "probes",
)
OWN_DOTTED_KEYS = {
    *("data.fold", "data.root", "data.cache", "data.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *("trainer.strategy", "trainer.enable_progress_bar", "trainer.log_every_n_steps", "trainer.profiler"),
    *("trainer.detect_anomaly", "trainer.deterministic", "trainer.num_sanity_val_steps"),
}
"""What may differ between trials of one setting."""


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
    def trial(self) -> tuple[int, int]:
        """What tells it from other trials of its setting: seed and fold."""
        fold = self.settings.get("data.fold")
        return self.seed, fold if isinstance(fold, int) else 0

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
        seconds = self.run.summary.get("train_s")
        return float(seconds) if is_number(seconds) else None

    def setting(self) -> dict[str, str]:
        """What all trials of one setting have in common, by dotted key."""
        return {key: canonical(value) for key, value in self.settings.items() if _counts(key)}


def _counts(key: str) -> bool:
    return key.split(".")[0] not in OWN_KEYS and key not in OWN_DOTTED_KEYS


def canonical(value: Any) -> str:
    """A value written out so that equal ones look alike: 1 as 1.0, which JSON does not tell apart."""
    if isinstance(value, list):
        return f"[{', '.join(map(canonical, value))}]"
    return repr(float(value)) if is_number(value) else repr(value)


def result_of(run: Run) -> Result:
    """Read a run's numbers."""
    measure = measure_of(_has_labels(run), run.settings.get("readout") or "first")
    names = sorted({name for row in run.rows for name in row if name.startswith(("val/", "train/"))})
    curves = {name: _curve(run.rows, name) for name in names if "/class" not in name and not name.endswith("_step")}
    best, test = best_validation(run.rows, measure), of_split("test", run.summary)
    for values, prefix in ((curves, "val/"), (curves, "train/"), (best, ""), (test, "")):
        _add_own_accuracy(values, prefix, measure)
    return Result(run, run.settings, measure, curves, best, test)


def _has_labels(run: Run) -> bool:
    """Whether the task is a classification; of a task that is not known here, whether accuracies were logged."""
    task = dict(TASKS).get(run.settings["task"])
    return task.has_labels if task else any(name.startswith("val/accuracy") for row in run.rows for name in row)


def _add_own_accuracy(values: dict[str, Any], prefix: str, measure: Measure) -> None:
    """``accuracy``: by the run's own readout, so that rules with different readouts can be compared."""
    if f"{prefix}{measure.name}" in values and measure.name.startswith("accuracy"):
        values[f"{prefix}accuracy"] = values[f"{prefix}{measure.name}"]


def _curve(rows: list[Row], name: str) -> list[Point]:
    """The values of a metric over epochs trained; the k-th of n values in an epoch stands at its k/n."""
    logged = [(int(row["epoch"]), row[name]) for row in rows if "epoch" in row and is_number(row.get(name))]
    per_epoch, seen, points = Counter(epoch for epoch, _ in logged), Counter[int](), []
    for epoch, value in logged:
        seen[epoch] += 1
        points.append((epoch + seen[epoch] / per_epoch[epoch], float(value)))
    return points


def of_split(split: str, values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a split, without its name."""
    prefix = f"{split}/"
    return {k.removeprefix(prefix): float(v) for k, v in values.items() if k.startswith(prefix) and is_number(v)}


def thin(points: list[Any], most: int = CURVE_POINTS) -> list[Any]:
    """Every k-th point, and the last one."""
    stride = math.ceil(len(points) / most) or 1
    kept = points[::stride]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]
