"""The timing-based rule: a spike's time is differentiated where the potential crosses the threshold (SPEC 2)."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SLOPE = 0.01
"""The paper's clamp of V*, in units of potential per step: 1/V* is at most 100."""


def membrane_slope(potential_TBN: Tensor, spikes_TBN: Tensor, min_slope: float = MIN_SLOPE) -> Tensor:
    """V*[t] = max(V[t] − (1 − S[t−1]) V[t−1], min_slope): the potential's slope per step, V[−1] = 0; [T, B, N]."""
    slope = potential_TBN.clone()
    slope[1:] -= potential_TBN[:-1].masked_fill(spikes_TBN[:-1] != 0, 0)
    return slope.clamp_(min=min_slope)


def timing_error(error_t: Tensor, spikes_TBN: Tensor, potential_TBN: Tensor, min_slope: float = MIN_SLOPE) -> Tensor:
    """δV[t] = −δt̂[t] / V*[t] where S[t] = 1, else 0; all of shape [T, B, N] (Kim et al. 2020, eq. 9)."""
    error = -error_t / membrane_slope(potential_TBN, spikes_TBN, min_slope)
    return torch.where(spikes_TBN != 0, error, 0)
