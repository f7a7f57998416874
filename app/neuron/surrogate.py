"""Surrogate derivatives σ(V) of the spike function: they stand for dS/dV in the activation rule (SPEC 2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import UserError
from .limits import LARGEST, require_single_precision


@dataclass(frozen=True)
class Exponential:
    """σ(v) = α_σ exp(−β_σ |θ − v|) (Shrestha & Orchard 2018; ``ste_alpha``, ``ste_beta``)."""

    alpha: float = 1.0
    beta: float = 3.0

    def __post_init__(self) -> None:
        require_single_precision("learning", ste_alpha=self.alpha, ste_beta=self.beta)

    def __call__(self, potential: Tensor, threshold: float) -> Tensor:
        """The derivative at every membrane potential; same shape as ``potential``."""
        return (potential - threshold).abs_().mul_(-self.beta).exp_().mul_(self.alpha)


@dataclass(frozen=True)
class Rectangular:
    """σ(v) = 1/w where |v − θ| < w/2, else 0 (STBP, Wu et al. 2018, h_1; ``surrogate_width``)."""

    width: float = 1.0

    def __post_init__(self) -> None:
        require_single_precision("learning", surrogate_width=self.width)
        if not self.width >= 1 / LARGEST:
            raise UserError(
                f"learning.surrogate_width={self.width} must be {1 / LARGEST:.3g} or more: a float32 holds its inverse"
            )

    def __call__(self, potential: Tensor, threshold: float) -> Tensor:
        """The derivative at every membrane potential; same shape as ``potential``."""
        return ((potential - threshold).abs_() < self.width / 2).to(potential.dtype).div_(self.width)


Surrogate = Exponential | Rectangular
