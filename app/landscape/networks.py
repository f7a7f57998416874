"""Means over networks, with 95 % intervals that run over networks and say how many of them there were."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from ..report.groups import spread

NEARLY_ONE = 1 - 1e-6


class Mean(NamedTuple):
    """A mean over the networks that have a value.

    Args:
        mean: of their values; NaN if none has one.
        low, high: ends of the 95 % interval; NaN for fewer than two values.
        n: how many have a value.
        networks: how many there are.
    """

    mean: float
    low: float
    high: float
    n: int
    networks: int

    def __str__(self) -> str:
        """Such as ``0.71 [0.60, 0.80] (2 of 3)``; what cannot be a cosine is marked: ``> 1``."""
        if not self.n:
            return "–"
        interval = "" if math.isnan(self.low) else f" [{_cosine(self.low)}, {_cosine(self.high)}]"
        return f"{_cosine(self.mean)}{interval} ({self.n} of {self.networks})"


def _cosine(value: float) -> str:
    return "> 1" if value > 1 else "< −1" if value < -1 else f"{value:.2f}"


def mean_cosine(values: Iterable[float]) -> Mean:
    """Mean and interval of cosines in Fisher's z = artanh c (Student's t), put back: never beyond [−1, 1].

    Args:
        values: one cosine of each network; NaN where it is not defined.
    """
    given = list(values)
    there = [math.atanh(max(-NEARLY_ONE, min(c, NEARLY_ONE))) for c in given if not math.isnan(c)]
    z = spread(there)
    mean, low, high = map(math.tanh, (z.mean, *z.interval))
    return Mean(mean, low, high, z.n, len(given))


def ceiling(reliabilities: Iterable[float]) -> Mean:
    """The largest cosine that a perfect point prediction can be expected to have with measured slopes.

    A measured slope is s + e, with an error e that no prediction can foresee which does not know the places u_j. The
    cosine of a perfect prediction with it is E[s (s + e)] / √(E[s²] E[(s + e)²]) = √R, R = E[s²] / E[(s + e)²]: the
    reliability, for two halves of equal length Spearman & Brown's 2 r / (1 + r). It is pooled over lines, then averaged
    over networks, each of the same weight as in the mean cosine (one ratio of sums over networks would be that of the
    steepest network), and only then the root is taken.

    Interval: Student's t for the mean reliability over networks. Nothing is cut off: mean and ends are put through the
    signed root ±√|R|; they may lie beyond 1, and a negative one says that no signal was seen.

    Args:
        reliabilities: one of each network, see :func:`app.landscape.scales.reliability`; NaN where not defined.
    """
    given = list(reliabilities)
    share = spread(value for value in given if not math.isnan(value))
    mean, low, high = map(signed_root, (share.mean, *share.interval))
    return Mean(mean, low, high, share.n, len(given))


def signed_root(share: float) -> float:
    """±√|x| with the sign of x."""
    return math.copysign(math.sqrt(abs(share)), share)
