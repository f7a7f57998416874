"""BPLC + NOSO: the analytic slope at the spike of neurons that only spike once (Jin et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..equations import maximum, where
from ..settings import setting
from .rule import RULES, Rule
from .timing import MIN_SLOPE


@RULES.register("bptc")
@dataclass(frozen=True)
class LatencyOnce(Rule):
    """δV[t] = −δt̂[t] / max(V̇[t], min_slope) where S[t] = 1, else 0, with V̇[t] = β_V I[t] + β_b b − (1 − α_V) V[t].

    The slope is that of the spike-response model at the spike, by which the potential would go on, and not the step
    that led there as in the timing rule (Jin et al. 2023, "BPLC + NOSO: backpropagation of errors based on latency code
    with neurons that only spike once at most"). Our form of it: the slope is limited as in the timing rule, and neither
    the paper's dual threshold nor its minimum-latency pooling is there.

    Args:
        min_slope: V̇ is not taken to be less.
        silent_penalty: as in the timing rule.

    Examples:
        >>> LatencyOnce(min_slope=0.1).settings()
        {'min_slope': 0.1, 'silent_penalty': 100.0}
    """

    min_slope: float = setting(MIN_SLOPE, "least slope by which a timing error is divided, potential per step", gt=0)
    silent_penalty: float = setting(100.0, "coefficient of the penalty that revives silent neurons", ge=0)
    zero_without_errors: ClassVar[bool] = True

    @staticmethod
    def membrane_error(
        error_t: Any,
        spikes: Any,
        potential: Any,
        current: Any,
        bias: Any,
        alpha_v: float,
        beta_v: float,
        min_slope: float,
    ) -> Any:
        """The equation above."""
        slope = current * beta_v + bias - potential * (1.0 - alpha_v)
        return where(spikes, -(error_t / maximum(slope, min_slope)), 0.0)

    def problems(self, config: Any) -> Iterator[str]:
        """More than one spike."""
        if config.neuron.max_spikes_per_neuron != 1:
            yield "rule=bptc is for neurons that fire once; use neuron.max_spikes_per_neuron=1"
