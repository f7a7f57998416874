"""ANTLR: the activation-based and the timing-based error at once (SPEC 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..equations import Equation, maximum, where
from ..neuron.surrogate import Exponential, Surrogate
from ..settings import setting
from .rule import RULES, Rule
from .timing import MIN_SLOPE


@RULES.register("antlr")
@dataclass(frozen=True)
class Antlr(Rule):
    """δV[t] = λ_act σ(V[t]) δS[t] − λ_tim [S[t] = 1] δt̂[t] / V*[t], with V* as in the timing rule (Kim et al. 2020).

    Args:
        lambda_act: λ_act, weight of the activation-based error; 0 leaves it out.
        lambda_tim: λ_tim, weight of the timing-based error; 0 leaves it out.
        surrogate: σ.
        min_slope: the clamp of V*.

    Examples:
        >>> rule = Antlr(lambda_act=0.0)
        >>> rule.parameters()  # without the activation error, no surrogate is asked for
        ('error_t', 'spikes', 'slope', 'lambda_tim', 'min_slope')
    """

    lambda_act: float = setting(1.0, "weight of the activation-based error", ge=0)
    lambda_tim: float = setting(1.0, "weight of the timing-based error", ge=0)
    surrogate: Surrogate = setting(Exponential(), "shape of the surrogate derivative dS/dV")
    min_slope: float = setting(MIN_SLOPE, "least slope by which a timing error is divided, potential per step", gt=0)
    zero_without_errors: ClassVar[bool] = True

    @staticmethod
    def membrane_error(
        error_S: Any,
        error_t: Any,
        spikes: Any,
        slope: Any,
        surrogate: Any,
        lambda_act: float,
        lambda_tim: float,
        min_slope: float,
    ) -> Any:
        """The equation above."""
        by_time = where(spikes, error_t / maximum(slope, min_slope), 0.0)
        return surrogate * error_S * lambda_act - by_time * lambda_tim

    @staticmethod
    def without_times(error_S: Any, surrogate: Any, lambda_act: float) -> Any:
        """λ_tim = 0: errors of spike times are not computed."""
        return surrogate * error_S * lambda_act

    @staticmethod
    def without_spikes(error_t: Any, spikes: Any, slope: Any, lambda_tim: float, min_slope: float) -> Any:
        """λ_act = 0: errors of spikes are not computed."""
        return where(spikes, -(error_t / maximum(slope, min_slope)) * lambda_tim, 0.0)

    @staticmethod
    def without_both(potential: Any) -> Any:
        """λ_act = λ_tim = 0."""
        return potential * 0.0

    def problems(self, config: Any) -> Iterator[str]:
        """Both weights 0."""
        if not self.lambda_act and not self.lambda_tim:
            yield "learning.lambda_act=0 with learning.lambda_tim=0 leaves no gradient; use learning.lambda_act=1"

    @property
    def equation(self) -> Equation:
        """Without the part whose weight is 0."""
        if not self.lambda_act:
            return self.without_spikes if self.lambda_tim else self.without_both
        return self.membrane_error if self.lambda_tim else self.without_times
