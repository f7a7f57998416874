"""From output spikes to a prediction (SPEC 3)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Readout = Literal["first", "count"]


def first_spike_steps(spikes_TBN: Tensor) -> Tensor:
    """t̂ [B, N], int64: the step of each neuron's first spike, T when it stays silent."""
    height_BN, first_BN = spikes_TBN.max(0)  # of equal values the first
    return first_BN.masked_fill_(height_BN == 0, len(spikes_TBN))


def decision_steps(spikes_TBN: Tensor) -> Tensor:
    """The step of each sample's first output spike, int64 [B]; T when no output neuron fires."""
    return first_spike_steps(spikes_TBN).amin(1)


def predict_by_first(first_BN: Tensor) -> Tensor:
    """The class whose neuron fires first, argmin t̂_j; ties go to the lowest class."""
    return first_BN.argmin(1)


def predict_by_count(counts_BN: Tensor) -> Tensor:
    """The class whose neuron fires most, argmax n_j; ties go to the lowest class."""
    return counts_BN.argmax(1)
