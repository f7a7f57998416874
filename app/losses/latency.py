"""The latency loss: cross-entropy of first-spike times (SPEC 3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def latency_loss(
    spikes_TBN: Tensor,
    times_TBN: Tensor,
    label_B: Tensor,
    beta_softmax: float = 1.0,
    lambda_no_spike: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of z_j = β_softmax (T − t̂_j), plus λ_ns times the share of samples with a silent label neuron.

    t̂_j is the step of the first spike; z_j = 0 when neuron j is silent. With q_j the target distribution (1 for the
    label, or (1 − ε) [j = label] + ε / N with label smoothing ε), the gradients are those of SPEC 3, written out since
    a dozen small operations would take as long as a layer:

        δt̂_j = −β_softmax (softmax(z)_j − q_j) / B   at the first spike of neuron j, 0 when it is silent
        δS_label[t] = −λ_ns / B                        at every t when the label neuron is silent

    Args:
        spikes_TBN: output spikes, 0/1.
        times_TBN: output spike times in steps (differentiable channel).
        label_B: int64 class labels.
        beta_softmax: β_softmax, per step.
        lambda_no_spike: λ_ns.
        label_smoothing: ε, 0 <= ε < 1 (Szegedy et al. 2016, section 7).
    """
    return _LatencyLoss.apply(spikes_TBN, times_TBN, label_B, beta_softmax, lambda_no_spike, label_smoothing)


class _LatencyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spikes_TBN: Tensor, times_TBN: Tensor, label_B: Tensor, beta: float, weight: float, smoothing: float
    ) -> Tensor:
        steps, batch = spikes_TBN.shape[:2]
        height_BN, first_BN = spikes_TBN.max(0)
        fired_BN = height_BN > 0
        log_p_BN = F.log_softmax((steps - first_BN).to(spikes_TBN.dtype).mul_(beta).mul_(fired_BN), 1)
        silent_B = ~fired_BN[torch.arange(batch, device=label_B.device), label_B]
        ctx.save_for_backward(first_BN, fired_BN, log_p_BN, silent_B, label_B)
        ctx.constants = beta, weight, smoothing, spikes_TBN.shape
        loss = F.nll_loss(log_p_BN, label_B)
        if smoothing:
            loss = (1 - smoothing) * loss - smoothing * log_p_BN.mean()
        return loss + weight * silent_B.to(loss.dtype).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        first_BN, fired_BN, log_p_BN, silent_B, label_B = ctx.saved_tensors
        beta, weight, smoothing, shape = ctx.constants
        excess_BN = log_p_BN.exp()
        excess_BN[torch.arange(len(label_B), device=label_B.device), label_B] -= 1 - smoothing
        if smoothing:
            excess_BN -= smoothing / shape[2]
        excess_BN = excess_BN * fired_BN * (error * (-beta / shape[1]))
        error_t_TBN = excess_BN.new_zeros(shape).scatter_(0, first_BN[None], excess_BN[None])
        error_TBN = excess_BN.new_zeros(shape)
        if silent_B.any():
            error_TBN[:, silent_B, label_B[silent_B]] = -weight / shape[1] * error
        return error_TBN, error_t_TBN, None, None, None, None
