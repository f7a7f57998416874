"""Confidence intervals: over the folds of a cross-validation, and of a share of recordings."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .results import Result

CONFIDENCE = 0.95
Interval = tuple[float, float]


def fold_means(results: Iterable[Result], name: str) -> list[float]:
    """A test metric by fold, averaged over the seeds that each fold was trained with."""
    by_fold = defaultdict(list)
    for result in results:
        if result.settings.get("data.fold") is not None and name in result.test:
            by_fold[result.settings["data.fold"]].append(result.test[name])
    return [statistics.fmean(by_fold[fold]) for fold in sorted(by_fold)]


def t_interval(values: Sequence[float]) -> Interval:
    """Mean ± t_{n−1} s / √n: an interval for the mean of n values that are normally distributed.

    Args:
        values: at least two.
    """
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def wilson_interval(share: float, n: int) -> Interval:
    """Wilson's score interval for a share of n independent trials (Wilson 1927).

    Args:
        share: the share that was seen, 0 to 1.
        n: trials, at least one.
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return centre - half, centre + half
