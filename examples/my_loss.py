"""A loss of one's own: the label's output neuron is to fire first at one step, every other one at a later step.

python train.py plugins=[examples/my_loss.py] loss=my_loss objective.label_step=20 init_bias_center=1
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from app.events import Batch
from app.losses import LOSSES, Loss
from app.readout import first_spike_steps
from app.settings import setting


@LOSSES.register("my_loss")
@dataclass(frozen=True)
class MyLoss(Loss):
    """Σ_j (t̂_j − t*_j)² / T per sample, with t̂_j the step of the first spike, T of a silent neuron; dL/dS = 0."""

    has_activation_gradient: ClassVar[bool] = False

    label_step: int = setting(20, "step at which the label's output neuron is to fire first", ge=0)
    other_step: int = setting(60, "step at which every other output neuron is to fire first", ge=0)

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: str = "mean") -> Tensor:
        """The loss averaged over the batch, or of each sample [B]."""
        steps = len(spikes_TBN)
        first_BN = first_spike_steps(spikes_TBN.detach())
        time_BN = times_TBN.gather(0, first_BN.clamp(max=steps - 1)[None])[0]
        is_label_BN = F.one_hot(batch.label_B, first_BN.shape[1]).bool()
        wanted_BN = torch.where(is_label_BN, self.label_step, self.other_step)
        loss_B = (torch.where(first_BN < steps, time_BN, steps) - wanted_BN).square().sum(1) / steps
        return loss_B if reduction == "none" else loss_B.mean()

    def problems(self, config: Any) -> Iterator[str]:
        """A sentence for each thing that cannot work."""
        if self.other_step >= config.time_steps:
            yield f"objective.other_step={self.other_step} is past the window; use less than time_steps"
