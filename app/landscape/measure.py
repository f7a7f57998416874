"""The three measurements: on a line, on a plane, and layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .directions import filter_normalised_direction, measure_along, measure_on_plane
from .fidelity import (
    Agreement,
    agreement,
    central_difference,
    descent_direction,
    integrate,
    layer_directions,
    relative_error,
    slope,
    smooth,
)
from .spike_changes import SpikeChanges, spike_changes
from .subject import Direction, Subject

SMOOTH = 0.05
"""Half-width of the central differences, and width of the smoothing of the loss, in weight norms."""
DIRECTIONS = 64
"""Random directions in which each layer is moved."""
ARROWS = 9
"""Arrows of the plane, each way."""


def direction(subject: Subject, along: str, seed: int) -> Direction:
    """A filter-normalised random direction, or downhill by a rule's own gradient."""
    if along == "random":
        return filter_normalised_direction(subject.parameters, seed)
    return descent_direction(subject.parameters, subject.gradient(along))


def even_steps(points: int, span: float) -> list[float]:
    """An odd number of steps, at least ``points``, from −span to span, with 0 exactly in the middle."""
    half = points // 2
    return [span * k / half for k in range(-half, half + 1)]


class Truth(NamedTuple):
    """How the rises of a predicted loss go with those of the smoothed true loss, over stretches of a line.

    Args:
        cosine: of the two vectors of rises: whether the shape is right.
        signs: share of stretches on which both rise or fall.
        size: length of the predicted rises by that of the true ones: above 1 the prediction is too steep.
        error: standard error of the cosine as if the stretches were independent, (1 − cosine²) / √n.
    """

    cosine: float
    error: float
    signs: float
    size: float


class _Point(NamedTuple):
    loss: float
    slopes: dict[str, float]
    spikes: list[Tensor]


@dataclass(frozen=True)
class Line:
    """The loss on a line.

    Args:
        steps: factors of the direction.
        losses: the true loss at each.
        smoothed: the same, smoothed.
        predicted: for each rule, the loss that its gradient, integrated from 0, predicts.
        changes: for each stretch between two points, spikes per sample that changed, in all layers together.
    """

    steps: list[float]
    losses: list[float]
    smoothed: list[float]
    predicted: dict[str, list[float]]
    changes: list[SpikeChanges]

    def errors(self) -> dict[str, float]:
        """For each rule, the error of its prediction in standard deviations of the smoothed loss."""
        return {rule: relative_error(values, self.smoothed) for rule, values in self.predicted.items()}

    @property
    def near(self) -> float:
        """Stretches up to here from the current point are near it: a third of the way to the end of the line."""
        return self.steps[-1] / 3

    def truth(self, rule: str, is_near: bool) -> Truth:
        """How well a rule's prediction goes with the smoothed loss, near the current point or further out."""
        kept = [(abs(a + b) / 2 <= self.near) == is_near for a, b in pairwise(self.steps)]
        rises = [[b - a for (a, b), k in zip(pairwise(v), kept, strict=True) if k] for v in self._both(rule)]
        return _truth(*rises)

    def _both(self, rule: str) -> tuple[list[float], list[float]]:
        return self.predicted[rule], self.smoothed


def _truth(predicted: list[float], true: list[float]) -> Truth:
    sizes = math.hypot(*predicted), math.hypot(*true)
    signs = sum(p * t > 0 for p, t in zip(predicted, true, strict=True)) / (len(true) or 1)
    if not all(sizes):
        return Truth(math.nan, math.nan, signs, math.nan)
    cosine = sum(p * t for p, t in zip(predicted, true, strict=True)) / (sizes[0] * sizes[1])
    return Truth(cosine, (1 - cosine**2) / math.sqrt(len(true)), signs, sizes[0] / sizes[1])


def line(subject: Subject, along: Direction, steps: list[float], width: float) -> Line:
    """Measure along a line.

    Args:
        subject: the network.
        along: the direction.
        steps: its factors; 0 is among them.
        width: of the smoothing.
    """

    def look() -> _Point:
        slopes = {rule: slope(subject.gradient(rule), along) for rule in subject.rules}
        return _Point(subject.loss(), slopes, subject.spikes())

    points = measure_along(look, subject.parameters, along, steps)
    losses = [point.loss for point in points]
    smoothed = smooth(steps, losses, width)
    start = smoothed[steps.index(0.0)]
    predicted = {rule: integrate(steps, [point.slopes[rule] for point in points], start) for rule in subject.rules}
    changes = [_changes(one, two, subject.samples) for one, two in pairwise(points)]
    return Line(steps, losses, smoothed, predicted, changes)


def _changes(one: _Point, two: _Point, samples: int) -> SpikeChanges:
    layers = [spike_changes(before, after) for before, after in zip(one.spikes, two.spikes, strict=True)]
    return SpikeChanges(*(sum(counts) / samples for counts in zip(*layers, strict=True)))


@dataclass(frozen=True)
class Plane:
    """The loss on a plane.

    Args:
        steps: factors of both directions.
        losses: a row for each factor of the second direction.
        arrows: for each rule, the factors of a coarser grid, and its slopes along both directions there.
    """

    steps: list[float]
    losses: list[list[float]]
    arrows: dict[str, tuple[list[float], list[list[tuple[float, float]]]]]


def plane(subject: Subject, directions: tuple[Direction, Direction], steps: list[float]) -> Plane:
    """Measure on a plane."""
    losses = measure_on_plane(subject.loss, subject.parameters, directions, steps)
    coarse = even_steps(ARROWS, 0.9 * steps[-1])
    arrows = {}
    for rule in subject.rules:

        def slopes(rule: str = rule) -> tuple[float, float]:
            grad = subject.gradient(rule)
            return slope(grad, directions[0]), slope(grad, directions[1])

        arrows[rule] = coarse, measure_on_plane(slopes, subject.parameters, directions, coarse)
    return Plane(steps, losses, arrows)


def fidelity(subject: Subject, count: int, half_width: float, seed: int) -> dict[tuple[str, str], Agreement]:
    """For each layer and rule, its gradient against central differences of the loss in random directions."""
    gradients = {rule: subject.gradient(rule) for rule in subject.rules}
    found = {}
    for layer, index in subject.weights.items():
        directions = layer_directions(subject.parameters, index, count, seed)
        differences = [central_difference(subject.loss, subject.parameters, d, half_width) for d in directions]
        for rule, grad in gradients.items():
            found[layer, rule] = agreement([slope(grad, d) for d in directions], differences)
    return found
