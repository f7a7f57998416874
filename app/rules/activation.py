"""The activation-based rule: a spike's value is differentiated through a surrogate (SPEC 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from ..equations import Equation
from ..neuron.surrogate import Exponential, Surrogate
from ..settings import setting
from .rule import RULES, Rule

Variant = Literal["srm", "rnn", "slayer"]


@RULES.register("activation")
@dataclass(frozen=True)
class Activation(Rule):
    """δV[t] = σ(V[t]) δS[t] (Kim et al. 2020, eq. 5).

    Args:
        surrogate: σ.
        variant: ``srm`` does not differentiate the reset, ``rnn`` does (it is BPTT), ``slayer`` lets errors pass
            through the reset.

    Examples:
        >>> import torch
        >>> Activation.membrane_error(surrogate=torch.tensor([0.0, 1.0]), error_S=torch.tensor([2.0, 3.0]))
        tensor([0., 3.])
    """

    surrogate: Surrogate = setting(Exponential(), "shape of the surrogate derivative dS/dV")
    variant: Variant = setting("srm", "reset not differentiated (srm), differentiated (rnn), errors pass it (slayer)")
    zero_without_errors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant={self.variant!r} must be one of {', '.join(get_args(Variant))}")
        super().__post_init__()

    @staticmethod
    def membrane_error(surrogate: Any, error_S: Any) -> Any:
        """The equation above."""
        return surrogate * error_S

    @staticmethod
    def with_resets(
        surrogate: Any,
        error_S: Any,
        lost_potential: Any,
        lost_current: Any,
        alpha_v: float,
        alpha_i: float,
        later_error: Any,
        later_current_error: Any,
    ) -> Any:
        """δV[t] = σ(V[t]) (δS[t] − α_V V[t] δV_dep[t+1] − α_I I[t] δI[t+1]): what a spike takes away counts."""
        leak = lost_potential * later_error * alpha_v + lost_current * later_current_error * alpha_i
        return surrogate * error_S - surrogate * leak

    @property
    def equation(self) -> Equation:
        """With or without the paths through the resets."""
        return self.with_resets if self.variant == "rnn" else self.membrane_error

    @property
    def through_reset(self) -> bool:  # type: ignore[override]
        """In the ``slayer`` variant."""
        return self.variant == "slayer"
