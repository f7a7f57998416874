"""The spike-count loss (SPEC 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import check_channels, check_classes, check_target
from .reduction import Reduction, check_reduction


def target_counts(label_B: Tensor, classes: int, max_target_spikes: float, min_target_spikes: float) -> Tensor:
    """n*_j [B, classes]: ``max_target_spikes`` for the label, ``min_target_spikes`` for every other class."""
    check_classes(label_B, classes)
    is_label = F.one_hot(label_B, classes).bool()
    return torch.where(is_label, float(max_target_spikes), float(min_target_spikes))


def count_loss(spikes_TBN: Tensor, target_BN: Tensor, reduction: Reduction = "mean") -> Tensor:
    """L = Σ_{b,j} (n_j − n*_j)² / (T·B) with n_j = Σ_t S_j[t]; hence δS[t] = 2 (n_j − n*_j) / (T·B) and δt̂ = 0."""
    check_channels(spikes_TBN)
    check_target(target_BN, spikes_TBN.shape[1:], "target_BN")
    check_reduction(reduction)
    loss_B = (spikes_TBN.sum(0) - target_BN).square().sum(1) / len(spikes_TBN)
    return loss_B if reduction == "none" else loss_B.mean()
