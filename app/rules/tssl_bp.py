"""TSSL-BP: the timing error where a neuron fires, the activation error where it is silent (Zhang & Li 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..equations import maximum, where
from ..neuron.surrogate import Exponential, Surrogate
from ..settings import setting
from .rule import RULES, Rule
from .timing import MIN_SLOPE


@RULES.register("tssl_bp")
@dataclass(frozen=True)
class TSSLBP(Rule):
    """δV[t] = −[S[t] = 1] δt̂[t] / V*[t] if the neuron fires in the window, else σ(V[t]) δS[t].

    Zhang & Li 2020, "Temporal Spike Sequence Learning via Backpropagation for Deep Spiking Neural Networks": errors go
    through the times of spikes, and a surrogate takes their place where no spikes are; ANTLR adds the two. Our form of
    it: the switch is made for each neuron and sample, while the paper uses its surrogate to warm a silent network up;
    PSP and V* are those of the timing rule; and the loss is one of those here.

    Args:
        surrogate: σ.
        min_slope: the clamp of V*.

    Examples:
        >>> TSSLBP().asks_for("surrogate")
        True
    """

    surrogate: Surrogate = setting(Exponential(), "shape of the surrogate derivative dS/dV")
    min_slope: float = setting(MIN_SLOPE, "least slope by which a timing error is divided, potential per step", gt=0)
    zero_without_errors: ClassVar[bool] = True

    @staticmethod
    def membrane_error(
        error_S: Any, error_t: Any, spikes: Any, slope: Any, surrogate: Any, count: Any, min_slope: float
    ) -> Any:
        """The equation above."""
        by_time = where(spikes, -(error_t / maximum(slope, min_slope)), 0.0)
        return where(count > 0.5, by_time, surrogate * error_S)
