"""How often the output neurons are to fire in a classification: settings that two losses share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..events import Batch
from ..settings import setting
from .checks import check_classes
from .loss import Loss


def target_counts(label_B: Tensor, classes: int, max_target_spikes: float, min_target_spikes: float) -> Tensor:
    """n*_j [B, classes]: ``max_target_spikes`` for the label, ``min_target_spikes`` for every other class.

    Examples:
        >>> target_counts(torch.tensor([1]), 3, 5, 1)
        tensor([[1., 5., 1.]])
    """
    check_classes(label_B, classes)
    is_label = F.one_hot(label_B, classes).bool()
    return torch.where(is_label, float(max_target_spikes), float(min_target_spikes))


@dataclass(frozen=True)
class TargetCounts(Loss):
    """A loss that wants a number of spikes of each output neuron."""

    max_target_spikes: int = setting(1, "spikes wanted of the label's output neuron", ge=1)
    min_target_spikes: int = setting(0, "spikes wanted of the other output neurons", ge=0)

    def counts(self, spikes_TBN: Tensor, batch: Batch) -> Tensor:
        """n*_j for the samples of a batch, [B, N]."""
        return target_counts(batch.label_B, spikes_TBN.shape[2], self.max_target_spikes, self.min_target_spikes)

    def problems(self, config: Any) -> Iterator[str]:
        """Targets that no neuron can reach, or that tell the label's neuron to fire less than the others."""
        wanted, most = f"objective.max_target_spikes={self.max_target_spikes}", config.neuron.max_spikes_per_neuron
        if self.min_target_spikes > self.max_target_spikes:
            yield (
                f"objective.min_target_spikes={self.min_target_spikes} is larger than {wanted}: the label's neuron "
                "would be told to fire less than the others; raise objective.max_target_spikes"
            )
        if self.max_target_spikes > config.time_steps:
            yield f"{wanted} is more than one spike per step; use at most time_steps={config.time_steps}"
        if most is not None and self.max_target_spikes > most:
            yield (
                f"{wanted} is out of reach with neuron.max_spikes_per_neuron={most}; "
                "raise the latter or lower the former"
            )
