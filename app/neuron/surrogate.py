"""Surrogate derivatives σ(V) of the spike function: they stand for dS/dV in the activation rule (SPEC 2).

Each is a frozen dataclass: its fields are its settings, ``derivative`` is its equation, written once
(``app.equations``) as a function of the membrane potential, θ = ``theta`` and the fields that it names.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from ..equations import exp, parameters, values, where
from ..registry import Registry
from ..settings import setting
from .limits import LARGEST, require_single_precision

QUANTITIES = {
    "potential": "V[t], the membrane potential before the reset",
    "theta": "θ, the threshold",
}
"""What the equation of a surrogate may ask for besides its own settings."""


class Surrogate:
    """A surrogate derivative; a subclass is a frozen dataclass that adds settings and ``derivative``."""

    derivative: ClassVar[Any]
    """The equation: a static method of quantities (:data:`QUANTITIES`) and settings."""

    def __post_init__(self) -> None:
        require_single_precision(**self.settings())
        self.parameters()

    def settings(self) -> dict[str, float]:
        """The settings by field name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def parameters(self) -> tuple[str, ...]:
        """The names that the equation asks for, in order."""
        return parameters(self.derivative, [*QUANTITIES, *self.settings()], f"{type(self).__name__}.derivative")

    def __call__(self, potential: Tensor, threshold: float) -> Tensor:
        """The derivative at every membrane potential; same shape as ``potential``."""
        known = {"potential": potential, "theta": threshold}
        return self.derivative(*values(self.parameters(), known, self.settings()))


SURROGATES: Registry[type[Surrogate]] = Registry("surrogate")


@SURROGATES.register("exponential")
@dataclass(frozen=True)
class Exponential(Surrogate):
    """σ(v) = α_σ exp(−β_σ |θ − v|) (Shrestha & Orchard 2018; ``ste_alpha``, ``ste_beta``)."""

    alpha: float = setting(1.0, "its height at the threshold", key="ste_alpha", gt=0)
    beta: float = setting(3.0, "its decay with the distance from the threshold", key="ste_beta", ge=0)

    @staticmethod
    def derivative(potential: Tensor, theta: float, alpha: float, beta: float) -> Tensor:
        """The equation above."""
        return exp(abs(potential - theta) * -beta) * alpha


@SURROGATES.register("rectangular")
@dataclass(frozen=True)
class Rectangular(Surrogate):
    """σ(v) = 1/w where |v − θ| < w/2, else 0 (STBP, Wu et al. 2018, h_1; ``surrogate_width``)."""

    width: float = setting(1.0, "1/width where |V - threshold| < width/2", key="surrogate_width", gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.width >= 1 / LARGEST:
            raise ValueError(f"width={self.width} must be {1 / LARGEST:.3g} or more: a float32 holds its inverse")

    @staticmethod
    def derivative(potential: Tensor, theta: float, width: float) -> Tensor:
        """The equation above."""
        return where(abs(potential - theta) < width / 2, 1.0, potential * 0.0) * (1.0 / width)
