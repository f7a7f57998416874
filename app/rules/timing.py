"""The timing-based rule: a spike's time is differentiated where the potential crosses the threshold (SPEC 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..equations import maximum, where
from ..settings import setting
from .rule import RULES, Rule

MIN_SLOPE = 0.01
"""The paper's clamp of V*, in units of potential per step: 1/V* is at most 100."""


@RULES.register("timing")
@dataclass(frozen=True)
class Timing(Rule):
    """δV[t] = −δt̂[t] / V*[t] where S[t] = 1, else 0, with V*[t] = max(V[t] − (1 − S[t−1]) V[t−1], min_slope).

    SpikeProp for any number of spikes (Kim et al. 2020, eq. 9).

    Args:
        min_slope: the clamp of V*: 1/V* is at most 1 / min_slope.
        silent_penalty: what training adds for silent neurons, which get no error otherwise; no part of the equation.

    Examples:
        >>> import torch
        >>> spikes, slope = torch.tensor([True, True, False]), torch.tensor([0.5, -1.0, 0.5])
        >>> Timing.membrane_error(torch.ones(3), spikes, slope, 0.01)
        tensor([  -2., -100.,    0.])
    """

    min_slope: float = setting(MIN_SLOPE, "least slope by which a timing error is divided, potential per step", gt=0)
    silent_penalty: float = setting(100.0, "coefficient of the penalty that revives silent neurons", ge=0)
    zero_without_errors: ClassVar[bool] = True

    @staticmethod
    def membrane_error(error_t: Any, spikes: Any, slope: Any, min_slope: float) -> Any:
        """The equation above."""
        return where(spikes, -(error_t / maximum(slope, min_slope)), 0.0)
