"""The loss along directions in parameter space (Li et al. 2018, "Visualizing the loss landscape of neural nets")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


@torch.no_grad()
def filter_normalised_direction(parameters: Sequence[Tensor], seed: int) -> list[Tensor]:
    """A random direction in which each neuron's weights have the norm of its own weights; biases stay put.

    Args:
        parameters: the tensors of the current point; rows (axis 0) of a weight belong to one neuron or filter.
        seed: of the direction; global random numbers are not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = []
    for p in parameters:
        d = torch.randn(p.shape, generator=generator).to(p)
        if p.dim() < 2:
            direction.append(torch.zeros_like(d))
            continue
        rows, norms = d.flatten(1), p.flatten(1).norm(dim=1, keepdim=True)
        direction.append((rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12) * norms).view_as(p))
    return direction


@torch.no_grad()
def measure_along(
    measure: Callable[[], Value], parameters: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]
) -> list[Value]:
    """Whatever ``measure`` returns at θ + a·d for every a of ``steps``; the parameters are put back bit for bit.

    Args:
        measure: evaluates something, for example the loss, at the current values of ``parameters``.
        parameters: θ, changed in place meanwhile.
        direction: d, one tensor for each of ``parameters``.
        steps: the factors a.
    """
    with _put_back(parameters) as kept:
        return [_measured(measure, parameters, kept, [(a, direction)]) for a in steps]


@torch.no_grad()
def measure_on_plane(
    measure: Callable[[], Value],
    parameters: Sequence[Tensor],
    directions: tuple[Sequence[Tensor], Sequence[Tensor]],
    steps: Sequence[float],
) -> list[list[Value]]:
    """Whatever ``measure`` returns at θ + a·d₁ + b·d₂: a row for each b, in it a value for each a of ``steps``."""
    one, two = directions
    with _put_back(parameters) as kept:
        return [[_measured(measure, parameters, kept, [(a, one), (b, two)]) for a in steps] for b in steps]


def _measured(
    measure: Callable[[], Value],
    parameters: Sequence[Tensor],
    kept: Sequence[Tensor],
    moves: Sequence[tuple[float, Sequence[Tensor]]],
) -> Value:
    for k, (p, start) in enumerate(zip(parameters, kept, strict=True)):
        p.copy_(start + sum(factor * direction[k] for factor, direction in moves))
    return measure()


@contextmanager
def _put_back(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    kept = [p.clone() for p in parameters]
    try:
        yield kept
    finally:
        for p, start in zip(parameters, kept, strict=True):
            p.copy_(start)
