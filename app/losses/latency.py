"""The latency loss: cross-entropy of first-spike times (SPEC 3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.kernels.numba_latency import latency_errors
from app.readout import first_spike_steps


def latency_loss(
    spikes_TBN: Tensor,
    times_TBN: Tensor,
    label_B: Tensor,
    beta_softmax: float = 1.0,
    lambda_no_spike: float = 0.1,
    label_smoothing: float = 0.0,
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
        label_smoothing: ε: the target of class j is (1 − ε) [j = label] + ε / N (Szegedy et al. 2016, section 7).
    """
    constants = (beta_softmax, lambda_no_spike, label_smoothing)
    if spikes_TBN.dtype == torch.float32 and spikes_TBN.device.type == "cpu":
        return _Compiled.apply(spikes_TBN, times_TBN, label_B, constants)
    return plain_latency_loss(spikes_TBN, times_TBN, label_B, *constants)


def plain_latency_loss(
    spikes_TBN: Tensor, times_TBN: Tensor, label_B: Tensor, beta: float, weight: float, smoothing: float
) -> Tensor:
    """:func:`latency_loss` in plain PyTorch, the definition: any device and floating point type."""
    steps = len(spikes_TBN)
    first_BN = first_spike_steps(spikes_TBN)
    fired_BN = first_BN < steps
    at_BN = times_TBN.gather(0, first_BN.clamp(max=steps - 1)[None])[0]
    z_BN = torch.where(fired_BN, beta * (steps - at_BN), 0)
    label_B1 = label_B[:, None]
    silent_B = ~fired_BN.gather(1, label_B1)[:, 0]
    label_count_B = spikes_TBN.sum(0).gather(1, label_B1)[:, 0]
    cross_entropy = F.cross_entropy(z_BN, label_B, label_smoothing=smoothing)
    return cross_entropy + weight * (silent_B * (1 - label_count_B)).mean()


class _Compiled(torch.autograd.Function):
    """Value and gradients come from the same pass."""

    @staticmethod
    def forward(
        ctx: Any, spikes_TBN: Tensor, times_TBN: Tensor, label_B: Tensor, constants: tuple[float, float, float]
    ) -> Tensor:
        error_TBN, error_t_TBN = torch.zeros_like(spikes_TBN), torch.zeros_like(spikes_TBN)
        arrays = [tensor.numpy() for tensor in (error_TBN, error_t_TBN)]
        loss = latency_errors(spikes_TBN.numpy(), label_B.numpy(), *map(float, constants), *arrays)
        ctx.save_for_backward(error_TBN, error_t_TBN)
        return spikes_TBN.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        error_TBN, error_t_TBN = ctx.saved_tensors
        return error * error_TBN, error * error_t_TBN, None, None
