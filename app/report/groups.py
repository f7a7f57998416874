"""Trials of one setting, put together: mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .results import Measure, Point, Result

RULES = ("activation", "timing", "antlr")
LATE_KEYS = ("readout", "trainer.max_epochs", "trainer.max_steps")
"""Settings are named after these only if nothing else tells them apart."""


class Spread(NamedTuple):
    """Mean and standard deviation (n − 1) over n trials; NaN where there are too few."""

    mean: float
    std: float
    n: int


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
    """All trials of one setting.

    Args:
        label: the rule, and what tells the setting from others of the same task and rule.
        results: its runs, by seed.
    """

    label: str
    results: list[Result]

    @property
    def task(self) -> str:
        """What was learned."""
        return self.results[0].task

    @property
    def rule(self) -> str:
        """The learning rule."""
        return self.results[0].rule

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
        """How many trials are left out, because they failed, were killed or still go on."""
        return len(self.results) - len(self.finished)

    def spread(self, split: str, name: str) -> Spread:
        """A metric over the finished trials: on ``test``, or on ``val`` at each trial's best epoch."""
        return spread((r.test if split == "test" else r.best).get(name) for r in self.finished)

    def curve(self, name: str) -> list[tuple[float, Spread]]:
        """The mean curve of the finished trials."""
        return mean_curve([result.curves[name] for result in self.finished if name in result.curves])


def group(results: Iterable[Result]) -> list[Group]:
    """Put trials of one setting together; sorted by task, rule and, best first, the validation measure."""
    by_setting: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        by_setting[tuple(sorted(result.setting().items()))].append(result)
    families: dict[tuple, list[list[Result]]] = defaultdict(list)
    for trials in by_setting.values():
        families[trials[0].task, trials[0].rule].append(sorted(trials, key=lambda r: r.seed))
    groups = [one for family in families.values() for one in _labelled(family)]
    return sorted(groups, key=_order)


def _order(one: Group) -> tuple:
    value = one.spread("val", one.measure.name).mean
    rank = math.inf if math.isnan(value) else -one.measure.sign * value
    return one.task, RULES.index(one.rule) if one.rule in RULES else len(RULES), rank, one.label


def _labelled(family: list[list[Result]]) -> list[Group]:
    """Groups of one task and rule, each named after what tells it from the others.

    A value that more than half of them share is left out, but for loss and network.
    """
    firsts = [trials[0] for trials in family]
    usual = {key: _usual(key, firsts) for key in _distinguishing(firsts)}

    def label(one: Result) -> str:
        own = {key: one.settings.get(key) for key in usual}
        return ", ".join([one.rule, *(_shown(key, own[key]) for key in usual if repr(own[key]) != usual[key])])

    return [Group(label(trials[0]), trials) for trials in family]


def _usual(key: str, results: list[Result]) -> str | None:
    """The value, written out, that more than half have; None when there is none or names always show the key."""
    value, times = Counter(repr(result.settings.get(key)) for result in results).most_common(1)[0]
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
    return len({tuple(repr(result.settings.get(key)) for key in keys) for result in results})


def _shown(key: str, value: object) -> str:
    """A setting as a person would write it: count, 64-fc200-fc10, lr 0.0001."""
    if isinstance(value, list):
        value = "-".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if key in ("loss", "network", "optim.name") else f"{key.rpartition('.')[2]} {text}"
