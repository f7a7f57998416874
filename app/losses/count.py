"""The spike-count loss (SPEC 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..events import Batch
from .checks import check_channels, check_target
from .loss import LOSSES
from .reduction import Reduction, check_reduction
from .targets import TargetCounts


def count_loss(spikes_TBN: Tensor, target_BN: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """L = Σ_{b,j} (n_j − n*_j)² / (T·B) with n_j = Σ_t S_j[t]; hence δS[t] = 2 (n_j − n*_j) / (T·B) and δt̂ = 0.

    Args:
        spikes_TBN: output spikes, 0/1.
        target_BN: n*_j, the spikes wanted of each output neuron.
        reduction: the mean over samples, or the loss of each.

    Raises:
        ValueError: the shapes do not fit, or ``reduction`` is neither.

    Examples:
        >>> import torch
        >>> count_loss(torch.ones(4, 1, 2), torch.tensor([[4.0, 2.0]])).item()  # (4 - 2)**2 / 4
        1.0
    """
    check_channels(spikes_TBN)
    check_target(target_BN, spikes_TBN.shape[1:], "target_BN")
    check_reduction(reduction)
    loss_B = (spikes_TBN.sum(0) - target_BN).square().sum(1) / len(spikes_TBN)
    return loss_B if reduction == "none" else loss_B.mean()


@LOSSES.register("count")
@dataclass(frozen=True)
class Count(TargetCounts):
    """Each output neuron is to fire so often, whenever; there is no timing gradient."""

    has_timing_gradient: ClassVar[bool] = False
    usual_readout: ClassVar[str] = "count"

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: Reduction = "mean") -> Tensor:
        """:func:`count_loss` for the batch's labels."""
        return count_loss(spikes_TBN, self.counts(spikes_TBN, batch), reduction=reduction)
