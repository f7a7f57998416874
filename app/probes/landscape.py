"""The loss along directions in parameter space (Li et al. 2018, "Visualizing the loss landscape of neural nets")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


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
def loss_along(
    loss: Callable[[], float], parameters: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]
) -> list[float]:
    """The loss at θ + a·d for every a of ``steps``; the parameters are put back bit for bit, whatever happens.

    Args:
        loss: evaluates the loss at the current values of ``parameters``.
        parameters: θ, changed in place meanwhile.
        direction: d, one tensor for each of ``parameters``.
        steps: the factors a.
    """
    kept = [p.clone() for p in parameters]
    values = []
    try:
        for a in steps:
            for p, start, d in zip(parameters, kept, direction, strict=True):
                p.copy_(start + a * d)
            values.append(loss())
    finally:
        for p, start in zip(parameters, kept, strict=True):
            p.copy_(start)
    return values
