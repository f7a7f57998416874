"""The three learning rules as one object: ANTLR is the sum of the activation-based and the timing-based error (SPEC 2).

activation:  δV[t] = σ(V[t]) δS[t]
timing:      δV[t] = −δt̂[t] / V*[t]  where S[t] = 1, else 0
ANTLR:       δV[t] = λ_act · activation + λ_tim · timing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import UserError
from ..neuron.limits import require_single_precision
from ..neuron.surrogate import Exponential, Surrogate
from .activation import activation_error
from .timing import MIN_SLOPE, timing_error

Variant = Literal["srm", "rnn", "slayer"]


@dataclass(frozen=True)
class Rule:
    """A learning rule; build it with :func:`activation`, :func:`timing` or :func:`antlr`.

    Args:
        lambda_act: λ_act, weight of the activation-based error; 0 leaves it out.
        lambda_tim: λ_tim, weight of the timing-based error; 0 leaves it out.
        surrogate: σ, used by the activation-based part.
        variant: ``srm`` does not differentiate the reset, ``rnn`` does (it is BPTT), ``slayer`` lets errors pass
            through the reset. Only the purely activation-based rule has variants.
        min_slope: the clamp of V*, used by the timing-based part: 1/V* is at most 1 / min_slope.
    """

    lambda_act: float = 1.0
    lambda_tim: float = 1.0
    surrogate: Surrogate = Exponential()
    variant: Variant = "srm"
    min_slope: float = MIN_SLOPE

    def __post_init__(self) -> None:
        require_single_precision("learning", lambda_act=self.lambda_act, lambda_tim=self.lambda_tim)
        if self.variant != "srm" and self.lambda_tim != 0:
            raise UserError(
                f"learning.variant={self.variant} exists for rule=activation only; use learning.variant=srm "
                "with the timing and antlr rules"
            )

    def membrane_error(
        self, error_S: Tensor, error_t: Tensor, spikes: Tensor, potential: Tensor, theta: float
    ) -> Tensor:
        """δV = dL/dV from the activation error δS and the timing error δt̂, pointwise; all [T, B, N]."""
        parts = []
        if self.lambda_act:
            parts.append(self.lambda_act * activation_error(error_S, potential, self.surrogate, theta))
        if self.lambda_tim:
            parts.append(self.lambda_tim * timing_error(error_t, spikes, potential, self.min_slope))
        return sum(parts[1:], parts[0]) if parts else potential.new_zeros(potential.shape)


def activation(surrogate: Surrogate = Exponential(), variant: Variant = "srm") -> Rule:
    """The activation-based rule (surrogate gradient)."""
    return Rule(1.0, 0.0, surrogate, variant)


def timing(min_slope: float = MIN_SLOPE) -> Rule:
    """The timing-based rule (SpikeProp for any number of spikes)."""
    return Rule(0.0, 1.0, min_slope=min_slope)


def antlr(
    lambda_act: float = 1.0,
    lambda_tim: float = 1.0,
    surrogate: Surrogate = Exponential(),
    min_slope: float = MIN_SLOPE,
) -> Rule:
    """ANTLR: both errors at once."""
    return Rule(lambda_act, lambda_tim, surrogate, min_slope=min_slope)
