"""What came out of a sweep: a number for each option on validation data, the choice, and only then the test."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..best import Measure, best_validation, measure_of
from ..report.groups import Spread, spread
from ..report.results import of_split
from ..report.tables import inert, percent, short
from ..runs import Run
from .plan import Option, Trial, label
from .run import stored

NAMES = {
    "accuracy_first": "accuracy by first spike",
    "accuracy_count": "accuracy by spike count",
    "loss": "loss",
    "spikes_per_sample": "spikes per sample",
    "decision_spikes": "decision spikes per sample",
    "time_to_first_spike_steps": "time to first output spike (steps)",
}


@dataclass(frozen=True)
class Outcome:
    """The trials of one option.

    Args:
        option: the values of the axes among which is chosen.
        trials: all of them.
        finished: those that came to their end.
        measure: what is compared on validation data.
        best: for each finished trial, the validation metrics of its best epoch.
        test: for each finished trial, its test metrics.
    """

    option: Option
    trials: list[Trial]
    finished: list[Trial]
    measure: Measure
    best: list[dict[str, float]]
    test: list[dict[str, float]]

    @property
    def family(self) -> tuple[str, str]:
        """Task and rule: among the options of one family, one is chosen."""
        return self.trials[0].config.task, self.trials[0].config.rule

    @property
    def is_complete(self) -> bool:
        """Whether every trial came to its end: only then may the option be chosen."""
        return len(self.finished) == len(self.trials)

    @property
    def validation(self) -> Spread:
        """The measure over the finished trials."""
        return spread(best.get(self.measure.name) for best in self.best)

    def test_spread(self, name: str) -> Spread:
        """A test metric over the finished trials."""
        return spread(test.get(name) for test in self.test)


def outcomes(trials: Sequence[Trial]) -> list[Outcome]:
    """Read what the runs left behind, option by option."""
    by_option: dict[Option, list[Trial]] = {}
    for trial in trials:
        by_option.setdefault(trial.option, []).append(trial)
    return [_outcome(option, its) for option, its in by_option.items()]


def _outcome(option: Option, trials: list[Trial]) -> Outcome:
    runs = [(trial, run) for trial in trials if (run := stored(trial)) is not None and run.state == "finished"]
    by = measure(trials[0])
    best, test = ([read(run) for _, run in runs] for read in (lambda r: best_validation(r.rows, by), _test))
    return Outcome(option, trials, [trial for trial, _ in runs], by, best, test)


def measure(trial: Trial) -> Measure:
    """What the trial's best epoch, and the best option, is chosen by."""
    return measure_of(trial.config.has_labels, str(trial.config.readout))


def validated(trial: Trial) -> dict[str, float]:
    """The validation metrics of a run's best epoch; empty if they cannot be read."""
    run = stored(trial)
    return best_validation(run.rows, measure(trial)) if run is not None else {}


def _test(run: Run) -> dict[str, float]:
    return of_split("test", run.summary)


def choose(options: Sequence[Outcome]) -> list[Outcome]:
    """For each task and rule, the option with the best mean validation among those whose trials all finished.

    Of several that are equally good, the first in the order of the grid.
    """
    chosen: dict[tuple[str, str], Outcome] = {}
    for one in options:
        if not one.is_complete or not one.validation.n:
            continue
        best = chosen.get(one.family)
        if best is None or (one.measure.better(one.validation.mean, best.validation.mean) and not is_tie(one, best)):
            chosen[one.family] = one
    return list(chosen.values())


def rank(one: Outcome) -> tuple[tuple[str, str], float]:
    """To sort options by task and rule, the best on validation data first, those without a number last."""
    mean = one.validation.mean if one.validation.n else math.nan
    return one.family, math.inf if math.isnan(mean) else -one.measure.sign * mean


def is_tie(one: Outcome, other: Outcome) -> bool:
    """Whether two options have the same mean validation, but for rounding."""
    return math.isclose(one.validation.mean, other.validation.mean, rel_tol=1e-9)


def tied(one: Outcome, options: Sequence[Outcome]) -> list[Outcome]:
    """The other options that are as good as a chosen one, and might as well have been chosen."""
    rivals = (other for other in options if other is not one and other.family == one.family and other.is_complete)
    return [other for other in rivals if is_tie(one, other)]


def table(options: Sequence[Outcome], chosen: Sequence[Outcome]) -> str:
    """The comparison on validation data, and the test numbers of what it chose."""
    width = max(len(label(one.option)) for one in options)
    trials = len(options[0].trials)
    spread = "one trial each" if trials == 1 else f"mean ± standard deviation [95 % interval] over {trials} trials"
    lines = [f"\nBest epoch on validation data, {spread}"]
    for one in options:
        missing = "" if one.is_complete else f"  ({len(one.trials) - len(one.finished)} unfinished: cannot be chosen)"
        mark = "  <- chosen" if one in chosen else missing
        lines.append(f"  {label(one.option):{width}}  {NAMES[one.measure.name]} {_written(one)}{mark}")
    for one in chosen:
        task, rule = one.family
        if others := tied(one, options):
            names = "; ".join(label(other.option) for other in others)
            lines.append(f"\n{task}, {rule} rule: a tie of {label(one.option)}; {names}. The first one is taken")
        have = "is the first of the best by validation" if others else "has the best validation"
        lines.append(f"\n{task}, {rule} rule: {label(one.option)} {have}; on test data it reaches")
        lines += [f"  {NAMES[name]:36}{written(name, one.test_spread(name))}" for name in _tested(one)]
    return "\n".join(lines)


def _written(one: Outcome) -> str:
    return written(one.measure.name, one.validation) if one.validation.n else "–"


def written(name: str, value: Spread) -> str:
    """A metric as 97.83 ± 0.12 % or 41.29 ± 1.29."""
    return (percent if name.startswith("accuracy") else short)(value)


def _tested(one: Outcome) -> list[str]:
    return [name for name in NAMES if one.test_spread(name).n]


def store(options: Sequence[Outcome], chosen: Sequence[Outcome], folder: Path) -> None:
    """Write ``results.csv`` and ``results.json``; test numbers of chosen options only."""
    rows = [_row(one, one in chosen, bool(one in chosen and tied(one, options))) for one in options]
    (folder / "results.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    flat = [row["option"] | row | row["test"] for row in rows]
    names = [
        name for name in dict.fromkeys(key for row in flat for key in row) if name not in ("option", "test", "runs")
    ]
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()  # keys of settings, which are plain words
        writer.writerows({key: inert(value) for key, value in row.items()} for row in flat)


def _row(one: Outcome, is_chosen: bool, is_tied: bool) -> dict[str, Any]:
    task, rule = one.family
    value = one.validation
    return {
        "option": dict(one.option),
        "task": task,
        "rule": rule,
        "trials": len(one.trials),
        "finished": len(one.finished),
        "measure": f"val/{one.measure.name}",
        "mean": _json(value.mean),
        "std": _json(value.std),
        "low": _json(value.interval[0]),
        "high": _json(value.interval[1]),
        "chosen": is_chosen,
        "tie": is_tied,
        "test": _test_row(one) if is_chosen else {},
        "runs": [str(trial.out) for trial in one.trials],
    }


def _test_row(one: Outcome) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    for name in _tested(one):
        value = one.test_spread(name)
        row |= {f"test/{name} mean": _json(value.mean), f"test/{name} std": _json(value.std)}
    return row


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None
