"""The latency loss: cross-entropy of first-spike times (SPEC 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from app.readout import first_spike_steps


def latency_loss(
    spikes_TBN: Tensor, times_TBN: Tensor, label_B: Tensor, beta_softmax: float = 1.0, lambda_no_spike: float = 0.1
) -> Tensor:
    """Mean cross-entropy of z_j = β_softmax (T − t̂_j), plus λ_ns times the share of samples with a silent label neuron.

    t̂_j is the step of the first spike; z_j = 0 when neuron j is silent. The second term is written as
    λ_ns · mean_b [label silent]·(1 − Σ_t S_label[t]): a silent neuron's sum is zero, so the value is the share, and the
    gradient is δS_label[t] = −λ_ns / B at every t.

    Args:
        spikes_TBN: output spikes, 0/1.
        times_TBN: output spike times in steps (differentiable channel).
        label_B: int64 class labels.
        beta_softmax: β_softmax, per step.
        lambda_no_spike: λ_ns.
    """
    steps = len(spikes_TBN)
    first_BN = first_spike_steps(spikes_TBN)
    fired_BN = first_BN < steps
    at_BN = times_TBN.gather(0, first_BN.clamp(max=steps - 1)[None])[0]
    z_BN = torch.where(fired_BN, beta_softmax * (steps - at_BN), 0)
    label_B1 = label_B[:, None]
    silent_B = ~fired_BN.gather(1, label_B1)[:, 0]
    label_count_B = spikes_TBN.sum(0).gather(1, label_B1)[:, 0]
    return F.cross_entropy(z_BN, label_B) + lambda_no_spike * (silent_B * (1 - label_count_B)).mean()
