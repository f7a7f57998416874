"""How true a gradient is over scales: slopes of the loss, smoothed over so much of a line, against what rules predict.

The loss of a spiking network is piecewise constant; what training needs is the slope of a smoothed loss, and how far it
is smoothed decides the answer. On a line θ + a·d the Gaussian-smoothed loss is L_σ(a) = E_u L(θ + (a + u) d) with
u ~ N(0, σ²). Its slope at 0 is estimated from antithetic pairs ±u_j by least squares,

    s = Σ_j u_j (L(u_j) − L(−u_j)) / (2 Σ_j u_j²).

The same estimator, applied to the loss that a rule's gradient predicts when it is integrated along the line, is the
rule's *smoothed* prediction: prediction and truth are smoothed alike, at the same places, and a true gradient has the
cosine 1. The *point* prediction is the gradient at θ alone, which is what training uses. It knows nothing of the places
u_j, so that the noise of s stays between it and the truth: even the slope of L_σ itself would reach no more than
the ceiling of :func:`app.landscape.networks.ceiling`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .directions import measure_along
from .fidelity import integrate, slope
from .subject import Direction, Subject

LEAST_PAIRS = 4
"""Antithetic pairs that an estimate of the noise needs."""
TRUE, SQUARE = "true", "true squared"
POINT, SMOOTHED = "point", "smoothed"
KINDS = (POINT, SMOOTHED)


def measured_slopes(
    subject: Subject, directions: Sequence[Direction], scales: Sequence[float], pairs: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Slopes of the smoothed loss along lines, and what each rule predicts for them.

    Args:
        subject: the network on its samples.
        directions: of K lines.
        scales: S values of σ, in units of the direction.
        pairs: antithetic pairs for each line and scale, at least :data:`LEAST_PAIRS`.
        seed: of the places on the lines; the same for all rules.

    Returns:
        arrays [K, S]: ``true``, ``true squared`` (:func:`squared_slope`), and ``point <rule>``, ``smoothed <rule>`` for
        each rule.
    """
    names = [TRUE, SQUARE, *(f"{kind} {rule}" for kind in KINDS for rule in subject.rules)]
    found = {name: np.full((len(directions), len(scales)), math.nan) for name in names}
    gradients = {rule: subject.gradient(rule) for rule in subject.rules}
    start = subject.loss()
    for k, direction in enumerate(directions):
        here = {rule: slope(gradient, direction) for rule, gradient in gradients.items()}
        generator = torch.Generator().manual_seed(seed + k)
        for s, scale in enumerate(scales):
            above = (torch.randn(pairs, generator=generator, dtype=torch.float64).abs() * scale).tolist()
            values = _at(subject, direction, sorted([*above, *(-u for u in above)]), (start, here))
            losses = {a: loss for a, (loss, _) in values.items()}
            found[TRUE][k, s] = pair_slope(above, losses)
            found[SQUARE][k, s] = squared_slope(above, losses)
            for rule in subject.rules:
                slopes = [values[a][1][rule] for a in values]
                predicted = dict(zip(values, integrate([*values], slopes, 0.0), strict=True))
                found[f"{SMOOTHED} {rule}"][k, s] = pair_slope(above, predicted)
                found[f"{POINT} {rule}"][k, s] = here[rule]
    return found


Look = tuple[float, dict[str, float]]
"""The loss, and each rule's slope."""


def _at(subject: Subject, direction: Direction, steps: list[float], here: Look) -> dict[float, Look]:
    """What is seen at some steps of a line, and at 0, in order."""

    def look() -> Look:
        return subject.loss(), {rule: slope(subject.gradient(rule), direction) for rule in subject.rules}

    seen = dict(zip(steps, measure_along(look, subject.parameters, direction, steps), strict=True))
    return dict(sorted((seen | {0.0: here}).items()))


def pair_slope(above: Sequence[float], losses: Mapping[float, float]) -> float:
    """Σ u (L(u) − L(−u)) / 2 Σ u² over pairs: the slope of the loss that is smoothed over them."""
    return sum(u * (losses[u] - losses[-u]) for u in above) / (2 * sum(u * u for u in above))


def squared_slope(above: Sequence[float], losses: Mapping[float, float]) -> float:
    """The square of the slope of the smoothed loss, without the noise of the pairs: the products of different pairs.

    With z_j = u_j (L(u_j) − L(−u_j)) / 2 = s u_j² + u_j ε_j, the places u_j drawn independently, and the slope s of L_σ
    such that E[u ε] = 0, the expectation of z_j z_k is s² E[u²]² for j ≠ k, while z_j² holds the noise too. Therefore

        ŝ² = Σ_{j≠k} z_j z_k / Σ_{j≠k} u_j² u_k²,

    which for two pairs is the product of two split halves, and for more the weighted mean over all ways to split. It is
    negative where pairs contradict each other. Its variance is finite from :data:`LEAST_PAIRS` pairs on: with fewer, a
    product of small u_j may stand alone in the denominator.
    """
    squares = [u * u for u in above]
    products = [u * (losses[u] - losses[-u]) / 2 for u in above]
    return _between(products) / _between(squares)


def _between(values: Sequence[float]) -> float:
    """Σ_{j≠k} x_j x_k."""
    return sum(values) ** 2 - sum(value * value for value in values)


def cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The cosine of two vectors of slopes over lines; NaN where one of them is zero."""
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size else math.nan


def reliability(true: NDArray[np.float64], square: NDArray[np.float64]) -> float:
    """The share of signal in the measured slopes of a network, R = E[s²] / E[(s + e)²], from sums over K lines.

    The ratio Σ ŝ² / Σ s² is biased by the noise in its denominator; the jackknife K R − (K − 1) mean(R without line k)
    takes the part in 1 / K away. Nothing is cut off: without a signal it is negative as often as positive.

    Args:
        true: measured slopes [K].
        square: ŝ² [K], see :func:`squared_slope`.

    Returns:
        NaN where no more than one measured slope differs from 0.
    """
    power, lines = true**2, len(true)
    if np.count_nonzero(power) < 2:
        return math.nan
    without = (square.sum() - square) / (power.sum() - power)
    return float(lines * square.sum() / power.sum() - (lines - 1) * without.mean())
