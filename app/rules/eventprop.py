"""EventProp: exact gradients of spike times, also through what a spike does to its neuron (Wunderlich & Pehle 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..equations import maximum, where
from ..settings import setting
from .rule import RULES, Rule
from .timing import MIN_SLOPE


@RULES.register("eventprop")
@dataclass(frozen=True)
class EventProp(Rule):
    """δV[t] = (V̇⁺ α_V δV_dep[t+1] − δt̂[t]) / V̇⁻ where S[t] = 1, else 0.

    The jump of the adjoint at a spike, λ_V⁻ = (V̇⁺ λ_V⁺ − dL/dt) / V̇⁻ (Wunderlich & Pehle 2021, Table 1): a
    potential that is higher by dV makes its spike earlier by dV / V̇⁻, and a spike that is earlier by dt leaves the
    potential behind it higher by V̇⁺ dt. In steps, with V = θ at the spike and slopes per step just before and after it,

        V̇⁻ = β_V I[t] + β_b b − (1 − α_V) θ        V̇⁺ = β_V I⁺ + β_b b,

    I⁺ the current that survives: I[t], or 0 with ``reset="both"``. Without bias V̇⁺ is 0 then, and what is left is the
    timing rule. With ``reset="subtract"`` the scan itself hands λ_V⁺ on, and V̇⁺ − V̇⁻ takes the place of V̇⁺.

    The gradient is exact in the limit of small steps and while no spike appears or vanishes: ``app.verify --exact``.

    Args:
        min_slope: V̇⁻ is not taken to be less, as in the timing rule.
        silent_penalty: as in the timing rule.

    Examples:
        >>> EventProp().asks_for("later_error")
        True
    """

    min_slope: float = setting(MIN_SLOPE, "least slope by which a timing error is divided, potential per step", gt=0)
    silent_penalty: float = setting(100.0, "coefficient of the penalty that revives silent neurons", ge=0)

    @staticmethod
    def membrane_error(
        error_t: Any,
        spikes: Any,
        current: Any,
        lost_current: Any,
        bias: Any,
        later_error: Any,
        theta: float,
        alpha_v: float,
        beta_v: float,
        keeps_potential: float,
        min_slope: float,
    ) -> Any:
        """The equation above."""
        before = current * beta_v + bias - theta * (1.0 - alpha_v)
        behind = (current - lost_current) * beta_v + bias - before * keeps_potential
        return where(spikes, (behind * later_error * alpha_v - error_t) / maximum(before, min_slope), 0.0)
