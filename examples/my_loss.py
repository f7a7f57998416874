"""A loss of one's own: the first output spike of each sample is to come at a chosen step, whichever neuron fires it.

python train.py plugins=[examples/my_loss.py] loss=my_loss objective.wanted_step=30
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from app.events import Batch
from app.losses import LOSSES, Loss
from app.readout import first_spike_steps
from app.settings import setting


@LOSSES.register("my_loss")
@dataclass(frozen=True)
class MyLoss(Loss):
    """(t̂ − t*)² / T of the label's neuron, with t̂ = T where it is silent; dL/dS = 0, so no activation gradient."""

    has_activation_gradient: ClassVar[bool] = False

    wanted_step: int = setting(30, "step at which the label's output neuron is to fire first", ge=0)

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: str = "mean") -> Tensor:
        """The loss averaged over the batch, or of each sample [B]."""
        steps, label_B1 = len(spikes_TBN), batch.label_B[:, None]
        first_B1 = first_spike_steps(spikes_TBN.detach()).gather(1, label_B1)
        label_TB = times_TBN.gather(2, label_B1.expand(steps, -1, -1))[..., 0]
        time_B = label_TB.gather(0, first_B1.clamp(max=steps - 1).t())[0]
        loss_B = (torch.where(first_B1[:, 0] < steps, time_B, steps) - self.wanted_step).square() / steps
        return loss_B if reduction == "none" else loss_B.mean()
