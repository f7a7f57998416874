"""Surrogate derivatives σ(V) of the spike function: they stand for dS/dV in the activation rule (SPEC 2).

Each is a frozen dataclass: its fields are its settings, ``derivative`` is its equation, written once
(``app.equations``) as a function of the membrane potential, θ = ``theta`` and the fields that it names.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from ..equations import exp, maximum, parameters, values, where
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
        own: Any = self  # every subclass is a dataclass
        return {item.name: getattr(self, item.name) for item in fields(own)}

    def parameters(self) -> tuple[str, ...]:
        """The names that the equation asks for, in order."""
        return parameters(self.derivative, [*QUANTITIES, *self.settings()], f"{type(self).__name__}.derivative")

    def __call__(self, potential: Tensor, threshold: float) -> Tensor:
        """The derivative at every membrane potential; same shape as ``potential``."""
        known = {"potential": potential, "theta": threshold}
        derivative: Tensor = self.derivative(*values(self.parameters(), known, self.settings()))
        return derivative


HALF_PI = 1.5707963267948966
SURROGATES: Registry[type[Surrogate]] = Registry("surrogate")


@SURROGATES.register("exponential")
@dataclass(frozen=True)
class Exponential(Surrogate):
    """σ(v) = α_σ exp(−β_σ |θ − v|) (Shrestha & Orchard 2018; ``ste_alpha``, ``ste_beta``).

    Examples:
        >>> import torch
        >>> Exponential(alpha=1.0, beta=3.0)(torch.tensor([0.0, 1.0, 2.0]), 1.0)
        tensor([0.0498, 1.0000, 0.0498])
    """

    alpha: float = setting(1.0, "its height at the threshold", key="ste_alpha", gt=0)
    beta: float = setting(3.0, "its decay with the distance from the threshold", key="ste_beta", ge=0)

    @staticmethod
    def derivative(potential: Tensor, theta: float, alpha: float, beta: float) -> Tensor:
        """The equation above."""
        return exp(abs(potential - theta) * -beta) * alpha


@SURROGATES.register("rectangular")
@dataclass(frozen=True)
class Rectangular(Surrogate):
    """σ(v) = 1/w where |v − θ| < w/2, else 0 (STBP, Wu et al. 2018, h_1; ``surrogate_width``).

    Examples:
        >>> import torch
        >>> Rectangular(width=0.5)(torch.tensor([0.7, 0.8, 1.0, 1.3]), 1.0)
        tensor([0., 2., 2., 0.])
    """

    width: float = setting(1.0, "1/width where |V - threshold| < width/2", key="surrogate_width", gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.width >= 1 / LARGEST:
            raise ValueError(f"width={self.width} must be {1 / LARGEST:.3g} or more: a float32 holds its inverse")

    @staticmethod
    def derivative(potential: Tensor, theta: float, width: float) -> Tensor:
        """The equation above."""
        return where(abs(potential - theta) < width / 2, 1.0, potential * 0.0) * (1.0 / width)


@SURROGATES.register("fast_sigmoid")
@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """σ(v) = 1 / (1 + β |v − θ|)², of the fast sigmoid x / (1 + |x|) (SuperSpike, Zenke & Ganguli 2018)."""

    beta: float = setting(10.0, "how steep the surrogate's primitive is at the threshold", key="surrogate_slope", gt=0)

    @staticmethod
    def derivative(potential: Tensor, theta: float, beta: float) -> Tensor:
        """The equation above."""
        reach = abs(potential - theta) * beta + 1.0
        return 1.0 / (reach * reach)


@SURROGATES.register("arctangent")
@dataclass(frozen=True)
class Arctangent(Surrogate):
    """σ(v) = (β/2) / (1 + (π β (v − θ) / 2)²), of arctan(π β x / 2) / π (Fang et al. 2021)."""

    beta: float = setting(2.0, "how steep the surrogate's primitive is at the threshold", key="surrogate_slope", gt=0)

    @staticmethod
    def derivative(potential: Tensor, theta: float, beta: float) -> Tensor:
        """The equation above."""
        angle = (potential - theta) * (HALF_PI * beta)
        return beta / 2 / (angle * angle + 1.0)


@SURROGATES.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """σ(v) = β s (1 − s) with the logistic function s = 1 / (1 + e^{−β (v − θ)}) (cf. Neftci, Mostafa & Zenke 2019)."""

    beta: float = setting(4.0, "how steep the surrogate's primitive is at the threshold", key="surrogate_slope", gt=0)

    @staticmethod
    def derivative(potential: Tensor, theta: float, beta: float) -> Tensor:
        """The equation above, in a form that no large β overflows."""
        small = exp(abs(potential - theta) * -beta)
        return small * beta / ((small + 1.0) * (small + 1.0))


@SURROGATES.register("triangular")
@dataclass(frozen=True)
class Triangular(Surrogate):
    """σ(v) = γ max(0, 1 − |v − θ| / w) (Bellec et al. 2018, with γ = 0.3 and w = θ)."""

    height: float = setting(0.3, "the surrogate's value at the threshold", key="surrogate_height", gt=0)
    reach: float = setting(1.0, "distance from the threshold at which the surrogate is 0", key="surrogate_reach", gt=0)

    @staticmethod
    def derivative(potential: Tensor, theta: float, height: float, reach: float) -> Tensor:
        """The equation above."""
        return maximum(1.0 - abs(potential - theta) / reach, 0.0) * height
