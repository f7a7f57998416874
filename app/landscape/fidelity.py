"""How well a learning rule's gradient describes the loss that is really there.

The loss of a spiking network in discrete time is piecewise constant: its true gradient is zero almost everywhere, and
what training needs is the slope of a smoothed loss. A central difference over a half-width h is exactly that slope for
the loss averaged over the interval [−h, h] of the direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .directions import filter_normalised_direction, measure_along

PAIRS = 3
"""Pairs of points ±h/3, ±2h/3, ±h from which a slope is taken."""


class Agreement(NamedTuple):
    """Slopes by a rule's gradient against central differences of the loss, over n directions.

    Args:
        cosine: of the two vectors of slopes; NaN where one of them is zero.
        error: standard error of the cosine, (1 − cosine²) / √n.
        signs: share of directions in which the signs agree, among those in which the loss changes.
        n: directions in which the loss changes.
    """

    cosine: float
    error: float
    signs: float
    n: int


def gradient(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """The rule's gradient at the current parameters; zeros where the loss does not depend on one."""
    with torch.enable_grad():
        value = loss()
        if not value.requires_grad:
            return [torch.zeros_like(p) for p in parameters]
        found = torch.autograd.grad(value, list(parameters), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def slope(grad: Sequence[Tensor], direction: Sequence[Tensor]) -> float:
    """Σ g·d: the loss per unit of the direction, if the gradient told the truth."""
    return sum(float((g.double() * d.double()).sum()) for g, d in zip(grad, direction, strict=True))


def descent_direction(parameters: Sequence[Tensor], grad: Sequence[Tensor]) -> list[Tensor]:
    """−g, with the norm of all weights together: a step of 1 is as long as the weights are."""
    weights = math.sqrt(sum(float(p.detach().double().square().sum()) for p in parameters if p.dim() > 1))
    length = math.sqrt(sum(float(g.double().square().sum()) for g in grad))
    return [-g * (weights / length) if length else torch.zeros_like(g) for g in grad]


def layer_directions(parameters: Sequence[Tensor], index: int, count: int, seed: int) -> list[list[Tensor]]:
    """Random filter-normalised directions in which one tensor alone changes.

    Args:
        parameters: all tensors.
        index: the one that changes.
        count: how many directions.
        seed: of the first one.
    """
    rest = [torch.zeros_like(p) for p in parameters]
    found = []
    for k in range(count):
        (moved,) = filter_normalised_direction([parameters[index]], seed + k)
        found.append([*rest[:index], moved, *rest[index + 1 :]])
    return found


def central_difference(
    loss: Callable[[], float], parameters: Sequence[Tensor], direction: Sequence[Tensor], half_width: float
) -> float:
    """The slope of the smoothed loss at 0: least squares over pairs of points, Σ u (L(u) − L(−u)) / 2 Σ u²."""
    steps = [half_width * k / PAIRS for k in range(1, PAIRS + 1)]
    above = measure_along(loss, parameters, direction, steps)
    below = measure_along(loss, parameters, direction, [-u for u in steps])
    rise = sum(u * (high - low) for u, high, low in zip(steps, above, below, strict=True))
    return rise / (2 * sum(u * u for u in steps))


def agreement(slopes: Sequence[float], differences: Sequence[float]) -> Agreement:
    """Compare a rule's slopes with the loss's own."""
    moving = [(s, d) for s, d in zip(slopes, differences, strict=True) if d != 0]
    dot = sum(s * d for s, d in moving)
    size = math.sqrt(sum(s * s for s in slopes) * sum(d * d for d in differences))
    if not moving or not size:
        return Agreement(math.nan, math.nan, math.nan, len(moving))
    cosine = dot / size
    signs = sum(s * d > 0 for s, d in moving) / len(moving)
    return Agreement(cosine, (1 - cosine**2) / math.sqrt(len(slopes)), signs, len(moving))


def integrate(steps: Sequence[float], slopes: Sequence[float], start: float) -> list[float]:
    """The loss that slopes predict along a line that holds the step 0: start + ∫₀ᵃ slope, by trapezoids."""
    from scipy.integrate import cumulative_trapezoid  # takes 0.2 s to load

    total = cumulative_trapezoid(slopes, steps, initial=0)
    at_zero = total[list(steps).index(0.0)]
    return [float(start + value) for value in total - at_zero]


def smooth(steps: Sequence[float], values: Sequence[float], width: float) -> list[float]:
    """Values averaged with Gaussian weights of the given standard deviation; the weights end where the line ends."""
    smoothed = []
    for at in steps:
        weights = [math.exp(-0.5 * ((step - at) / width) ** 2) for step in steps]
        smoothed.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return smoothed


def relative_error(predicted: Sequence[float], true: Sequence[float]) -> float:
    """Root-mean-square error, in units of the standard deviation of the true values: 1 is what a constant reaches."""
    mean = sum(true) / len(true)
    error = sum((p - t) ** 2 for p, t in zip(predicted, true, strict=True))
    spread = sum((t - mean) ** 2 for t in true)
    return math.sqrt(error / spread) if spread else math.nan
