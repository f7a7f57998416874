"""Trials of one setting, put together: mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..best import Measure
from .intervals import Interval, t_interval
from .results import Point, Result, canonical

RULES = ("activation", "timing", "antlr")
LATE_KEYS = ("readout", "trainer.max_epochs", "trainer.max_steps")
"""Settings are named after these only if nothing else tells them apart."""


class Spread(NamedTuple):
    """Mean and standard deviation (n − 1) over n trials; NaN where there are too few."""

    mean: float
    std: float
    n: int

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the mean, by Student's t; NaN for fewer than two trials."""
        return t_interval(self.mean, self.std, self.n)


def spread(values: Iterable[float | None]) -> Spread:
    """Mean and standard deviation of the values that are there."""
    there = [value for value in values if value is not None]
    mean = statistics.fmean(there) if there else math.nan
    if len(there) < 2 or not all(map(math.isfinite, there)):
        return Spread(mean, math.nan, len(there))
    return Spread(mean, statistics.stdev(there), len(there))


def mean_curve(curves: Sequence[list[Point]]) -> list[tuple[float, Spread]]:
    """The spread at every epoch that all curves have reached."""
    if not curves:
        return []
    values: dict[float, list[float]] = defaultdict(list)
    for curve in curves:
        for epoch, value in curve:
            values[epoch].append(value)
    return [(epoch, spread(values[epoch])) for epoch in sorted(values) if len(values[epoch]) == len(curves)]


@dataclass(frozen=True)
class Group:
    """All trials of one setting on the same data.

    Args:
        label: the rule, and what tells the setting from others of the same task and rule.
        results: its trials, by seed.
        repeats: further runs of a trial, each with the run that counts instead.
    """

    label: str
    results: list[Result]
    repeats: list[tuple[Result, Result]] = field(default_factory=list)

    @property
    def task(self) -> str:
        """What was learned."""
        return self.results[0].task

    @property
    def rule(self) -> str:
        """The learning rule."""
        return self.results[0].rule

    @property
    def data(self) -> str | None:
        """The fingerprint of the data."""
        return next((result.run.data for result in self.results if result.run.data), None)

    @property
    def measure(self) -> Measure:
        """What validation chooses by."""
        return self.results[0].measure

    @property
    def finished(self) -> list[Result]:
        """The trials that count."""
        return [result for result in self.results if result.finished]

    @property
    def unfinished(self) -> int:
        """How many trials are left out, because they failed, were killed, are damaged or still go on."""
        return len(self.results) - len(self.finished)

    @property
    def code_versions(self) -> list[str]:
        """Of the code that made the trials that count."""
        return sorted({result.run.code_version or "unknown" for result in self.finished})

    @property
    def remarks(self) -> list[str]:
        """What a reader must know before the numbers are believed."""
        versions, remarks = self.code_versions, []
        if len(versions) > 1:
            remarks.append(f"{self.label}: its trials were made by different code ({', '.join(versions)})")
        for repeat, counted in self.repeats:
            shared = repeat.test.keys() & counted.test.keys()
            is_same = all(canonical(repeat.test[name]) == canonical(counted.test[name]) for name in shared)
            same = "with the same numbers" if is_same else "with OTHER numbers"
            how = same if repeat.finished and counted.finished else f"which is {repeat.run.state}"
            remarks.append(
                f"{self.label}: {repeat.run.source} repeats seed {repeat.seed} of {counted.run.source}, {how}; "
                "only the latter counts"
            )
        return remarks

    def spread(self, split: str, name: str) -> Spread:
        """A metric over the finished trials: on ``test``, or on ``val`` at each trial's best epoch."""
        return spread((r.test if split == "test" else r.best).get(name) for r in self.finished)

    def curve(self, name: str) -> list[tuple[float, Spread]]:
        """The mean curve of the finished trials."""
        return mean_curve([result.curves[name] for result in self.finished if name in result.curves])


def group(results: Iterable[Result]) -> list[Group]:
    """Put trials of one setting on the same data together; by task, rule and, best first, the validation measure."""
    by_setting: dict[tuple[tuple[str, str], ...], list[Result]] = defaultdict(list)
    for result in results:
        by_setting[tuple(sorted(result.setting().items()))].append(result)
    families: dict[tuple[str, str], list[tuple[list[Result], str]]] = defaultdict(list)
    for runs in by_setting.values():
        parts = _by_data(runs)
        for data, trials in parts.items():
            families[runs[0].task, runs[0].rule].append((trials, f"data {data[:8]}" if len(parts) > 1 else ""))
    groups = [one for family in families.values() for one in _labelled(family)]
    return sorted(groups, key=_order)


def _by_data(runs: list[Result]) -> dict[str, list[Result]]:
    """The runs of a setting by the fingerprint of their data; one that did not get to it goes with the others."""
    parts: dict[str, list[Result]] = defaultdict(list)
    for run in runs:
        if run.run.data or run.finished:
            parts[run.run.data or "unknown"].append(run)
    for run in runs:
        if not (run.run.data or run.finished):
            parts[max(parts, key=lambda data: len(parts[data]), default="unknown")].append(run)
    return parts


def _trials(runs: Iterable[Result]) -> tuple[list[Result], list[tuple[Result, Result]]]:
    """One run for each trial, a finished one where there is one, then the first by path; and the other runs."""
    counted: dict[tuple[int, int], Result] = {}
    repeats = []
    for run in sorted(runs, key=lambda r: (r.trial, not r.finished, r.run.source)):
        if run.trial in counted:
            repeats.append((run, counted[run.trial]))
        counted.setdefault(run.trial, run)
    return list(counted.values()), repeats


def is_tie(one: Group, other: Group) -> bool:
    """Whether two settings have the same mean validation, but for rounding."""
    first, second = (g.spread("val", g.measure.name).mean for g in (one, other))
    return math.isclose(first, second, rel_tol=1e-9)


def _order(one: Group) -> tuple[str, int, float, str]:
    value = one.spread("val", one.measure.name).mean
    rank = math.inf if math.isnan(value) else -one.measure.sign * value
    return one.task, RULES.index(one.rule) if one.rule in RULES else len(RULES), rank, one.label


def _labelled(family: list[tuple[list[Result], str]]) -> list[Group]:
    """Groups of one task and rule, each named after what tells it from the others.

    A value that more than half of them share is left out, but for loss and network.
    """
    firsts = [runs[0] for runs, _ in family]
    usual = {key: _usual(key, firsts) for key in _distinguishing(firsts)}

    def label(one: Result, data: str) -> str:
        own = {key: one.settings.get(key) for key in usual}
        named = (_shown(key, own[key]) for key in usual if canonical(own[key]) != usual[key])
        return ", ".join(filter(None, [one.rule, *named, data]))

    return [Group(label(runs[0], data), *_trials(runs)) for runs, data in family]


def _usual(key: str, results: list[Result]) -> str | None:
    """The value, written out, that more than half have; None when there is none or names always show the key."""
    value, times = Counter(canonical(result.settings.get(key)) for result in results).most_common(1)[0]
    return value if 2 * times > len(results) and key not in ("loss", "network") else None


def _distinguishing(results: list[Result]) -> list[str]:
    """Keys whose values tell all settings apart; a key that only follows others is left out."""
    keys = dict.fromkeys(["loss", "network", *(key for result in results for key in result.setting())])
    chosen: list[str] = []
    for key in sorted(keys, key=lambda key: key in LATE_KEYS):
        if _kinds(results, [*chosen, key]) > _kinds(results, chosen):
            chosen.append(key)
    needed = _kinds(results, chosen)
    for key in reversed(chosen.copy()):
        if _kinds(results, [other for other in chosen if other != key]) == needed:
            chosen.remove(key)
    return chosen


def _kinds(results: list[Result], keys: list[str]) -> int:
    return len({tuple(canonical(result.settings.get(key)) for key in keys) for result in results})


def _shown(key: str, value: object) -> str:
    """A setting as a person would write it: count, 64-fc200-fc10, lr 0.0001."""
    if isinstance(value, list):
        value = "-".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if key in ("loss", "network", "optim.name") else f"{key.rpartition('.')[2]} {text}"
