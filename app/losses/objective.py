"""What a run minimises: one of the three losses with its constants, as a function of network output and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..events import Batch
from .count import count_loss, target_counts
from .latency import latency_loss
from .reduction import Reduction
from .spike_train import even_trains, spike_train_loss

LossName = Literal["count", "spike_train", "latency"]


@dataclass(frozen=True)
class Objective:
    """A loss and its constants (SPEC 3).

    In a classification task the spike-train loss needs target trains: the label's neuron is to fire
    ``max_target_spikes`` spikes spread evenly over the window, every other one ``min_target_spikes``.

    Args:
        name: which loss.
        max_target_spikes: target count of the label's neuron.
        min_target_spikes: target count of every other output neuron.
        kappa_exp: what is left of a spike's trace after one step (spike_train).
        beta_softmax: β_softmax, per step (latency).
        lambda_no_spike: λ_ns (latency).
        label_smoothing: share of the target distribution that is spread evenly over all classes (latency).
    """

    name: LossName
    max_target_spikes: int = 1
    min_target_spikes: int = 0
    kappa_exp: float = 0.95
    beta_softmax: float = 1.0
    lambda_no_spike: float = 0.1
    label_smoothing: float = 0.0

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: Reduction = "mean") -> Tensor:
        """The loss from the two channels of the output layer, averaged over the batch, or of each sample [B]."""
        if self.name == "latency":
            constants = (self.beta_softmax, self.lambda_no_spike, self.label_smoothing)
            return latency_loss(spikes_TBN, times_TBN, batch.label_B, *constants, reduction)
        if self.name == "count":
            return count_loss(spikes_TBN, self._target_counts(spikes_TBN, batch), reduction)
        target_TBN = batch.target_TBN
        if target_TBN is None:
            target_TBN = even_trains(self._target_counts(spikes_TBN, batch), len(spikes_TBN))
        target_TBN = target_TBN.to(spikes_TBN.dtype)
        return spike_train_loss(spikes_TBN, times_TBN, target_TBN, self.kappa_exp, reduction=reduction)

    def _target_counts(self, spikes_TBN: Tensor, batch: Batch) -> Tensor:
        classes = spikes_TBN.shape[2]
        return target_counts(batch.label_B, classes, self.max_target_spikes, self.min_target_spikes)
