"""A learning rule of one's own: ANTLR whose timing error is softened instead of clamped where the slope is small.

python train.py plugins=[examples/my_rule.py] rule=softened learning.softening=0.05
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from app.equations import maximum, where
from app.neuron.surrogate import Exponential, Surrogate
from app.rules import RULES, Rule
from app.settings import setting


@RULES.register("softened")
@dataclass(frozen=True)
class Softened(Rule):
    """δV[t] = σ(V[t]) δS[t] − [S[t] = 1] δt̂[t] / (max(slope, 0) + softening)."""

    surrogate: Surrogate = setting(Exponential(), "shape of the surrogate derivative dS/dV")
    softening: float = setting(0.05, "added to the slope by which a timing error is divided, per step", gt=0)
    zero_without_errors: ClassVar[bool] = True  # δS = δt̂ = 0 makes δV = 0: engines may skip it

    @staticmethod
    def membrane_error(error_S: Any, error_t: Any, spikes: Any, slope: Any, surrogate: Any, softening: float) -> Any:
        """The equation above; its arguments are named after what it needs (app.rules.rule.QUANTITIES)."""
        return surrogate * error_S - where(spikes, error_t / (maximum(slope, 0.0) + softening), 0.0)
