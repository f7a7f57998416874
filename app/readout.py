"""From output spikes to a prediction (SPEC 3)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .registry import Registry

Readout = Callable[[Tensor, Tensor], Tensor]
"""From the first-spike steps [B, N] and the spike counts [B, N] of the output layer to a class for each sample [B]."""
READOUTS: Registry[Readout] = Registry("readout")


def first_spike_steps(spikes_TBN: Tensor) -> Tensor:
    """t̂ [B, N], int64: the step of each neuron's first spike, T when it stays silent.

    Examples:
        >>> import torch
        >>> first_spike_steps(torch.tensor([[[0.0, 0, 0]], [[1, 0, 0]], [[1, 1, 0]]]))
        tensor([[1, 2, 3]])
    """
    height_BN, first_BN = spikes_TBN.max(0)  # of equal values the first
    return first_BN.masked_fill_(height_BN == 0, len(spikes_TBN))


def decision_steps(spikes_TBN: Tensor) -> Tensor:
    """The step of each sample's first output spike, int64 [B]; T when no output neuron fires.

    Examples:
        >>> import torch
        >>> decision_steps(torch.tensor([[[0.0, 0]], [[0, 1]], [[1, 1]]]))
        tensor([1])
    """
    return first_spike_steps(spikes_TBN).amin(1)


def predict_by_first(first_BN: Tensor) -> Tensor:
    """The class whose neuron fires first, argmin t̂_j; ties go to the lowest class.

    Examples:
        >>> import torch
        >>> predict_by_first(torch.tensor([[7, 3, 3], [9, 9, 9]]))
        tensor([1, 0])
    """
    return first_BN.argmin(1)


def predict_by_count(counts_BN: Tensor) -> Tensor:
    """The class whose neuron fires most, argmax n_j; ties go to the lowest class.

    Examples:
        >>> import torch
        >>> predict_by_count(torch.tensor([[1, 4, 4], [0, 0, 0]]))
        tensor([1, 0])
    """
    return counts_BN.argmax(1)


READOUTS.register("first")(lambda first_BN, counts_BN: predict_by_first(first_BN))
READOUTS.register("count")(lambda first_BN, counts_BN: predict_by_count(counts_BN))
