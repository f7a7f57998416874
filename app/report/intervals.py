"""Confidence intervals: of a mean over trials, over the folds of a cross-validation, of a share of recordings."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from .results import Result

CONFIDENCE = 0.95
Interval = tuple[float, float]


def fold_means(results: Iterable[Result], name: str) -> list[float]:
    """A test metric by fold, averaged over the seeds that each fold was trained with."""
    by_fold = defaultdict(list)
    for result in results:
        if result.settings.get("data.folds") is not None and name in result.test:
            by_fold[result.settings["data.fold"]].append(result.test[name])
    return [statistics.fmean(by_fold[fold]) for fold in sorted(by_fold)]


def t_interval(mean: float, std: float, n: int) -> Interval:
    """Mean ± t_{n−1} s / √n: an interval for the mean of n values that are normally distributed.

    Args:
        mean: of the values.
        std: s, their standard deviation (n − 1).
        n: how many; for fewer than two the interval is NaN.
    """
    if n < 2 or not math.isfinite(std):
        return math.nan, math.nan
    half = t_quantile(n) * std / math.sqrt(n)
    return mean - half, mean + half


@cache
def t_quantile(n: int) -> float:
    """Half the width of the interval for a mean of n values, in standard errors."""
    from scipy.stats import t

    return float(t.interval(CONFIDENCE, n - 1)[1])


def wilson_interval(share: float, n: int) -> Interval:
    """Wilson's score interval for a share of n independent trials (Wilson 1927).

    Args:
        share: the share that was seen, 0 to 1.
        n: trials, at least one.
    """
    from scipy.stats import binomtest

    low, high = binomtest(round(share * n), n).proportion_ci(CONFIDENCE, method="wilson")
    return float(low), float(high)
