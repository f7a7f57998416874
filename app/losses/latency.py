"""The latency loss: cross-entropy of first-spike times (SPEC 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autograd import Function, first_derivative_only
from ..events import Batch
from ..kernels import compile as compiling
from ..kernels.latency import latency_errors
from ..readout import first_spike_steps
from ..settings import setting
from .checks import check_channels, check_labels
from .loss import LOSSES, Loss
from .reduction import Reduction, check_reduction

BETA_SOFTMAX, LAMBDA_NO_SPIKE = 1.0, 0.1


def latency_loss(
    spikes_TBN: Tensor,
    times_TBN: Tensor,
    label_B: Tensor,
    *,
    beta_softmax: float = BETA_SOFTMAX,
    lambda_no_spike: float = LAMBDA_NO_SPIKE,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
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
        reduction: the mean over samples, or the loss of each (float64 and without gradient where it is compiled).

    Raises:
        ValueError: the arguments do not fit one another.

    Examples:
        >>> spikes_TBN = torch.eye(3)[:, None]  # neuron n fires at step n
        >>> times_TBN = spikes_TBN * torch.arange(3.0)[:, None, None]
        >>> [round(latency_loss(spikes_TBN, times_TBN, torch.tensor([n])).item(), 3) for n in range(3)]
        [0.408, 1.408, 2.408]
    """
    check_channels(spikes_TBN, times_TBN)
    check_labels(label_B, spikes_TBN)
    check_reduction(reduction)
    constants = (beta_softmax, lambda_no_spike, label_smoothing)
    if spikes_TBN.dtype != torch.float32 or spikes_TBN.device.type != "cpu" or compiling.IS_OFF:
        return plain_latency_loss(spikes_TBN, times_TBN, label_B, *constants, reduction)
    if reduction == "none":
        return _compiled(spikes_TBN, label_B, constants)[0]
    loss: Tensor = _Compiled.apply(spikes_TBN, times_TBN, label_B, constants)
    return loss


def plain_latency_loss(
    spikes_TBN: Tensor,
    times_TBN: Tensor,
    label_B: Tensor,
    beta: float,
    weight: float,
    smoothing: float,
    reduction: Reduction = "mean",
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
    cross_entropy_B = F.cross_entropy(z_BN, label_B, label_smoothing=smoothing, reduction="none")
    loss_B = cross_entropy_B + weight * (silent_B * (1 - label_count_B))
    return loss_B if reduction == "none" else loss_B.mean()


def _compiled(
    spikes_TBN: Tensor, label_B: Tensor, constants: tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each sample, float64 [B], and the gradients of their mean for both channels."""
    loss_B = torch.empty(len(label_B), dtype=torch.float64)
    errors = torch.zeros(2, *spikes_TBN.shape)
    tensors = (spikes_TBN, label_B.long().contiguous(), loss_B, *errors)
    spikes, label, loss, error, error_t = (x.detach().numpy() for x in tensors)
    latency_errors(spikes, label, *map(float, constants), loss, error, error_t)
    return loss_B, errors[0], errors[1]


class _Compiled(Function):
    """Value and gradients come from the same pass."""

    @staticmethod
    def forward(
        ctx: Any, spikes_TBN: Tensor, times_TBN: Tensor, label_B: Tensor, constants: tuple[float, float, float]
    ) -> Tensor:
        loss_B, *errors = _compiled(spikes_TBN, label_B, constants)
        ctx.save_for_backward(*errors)
        return loss_B.mean().float()

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        error_TBN, error_t_TBN = ctx.saved_tensors
        return error * error_TBN, error * error_t_TBN, None, None


@LOSSES.register("latency")
@dataclass(frozen=True)
class Latency(Loss):
    """The label's output neuron is to fire before all others."""

    beta_softmax: float = setting(BETA_SOFTMAX, "steepness of the softmax over first-spike times, per step", gt=0)
    lambda_no_spike: float = setting(LAMBDA_NO_SPIKE, "weight of the share of samples with a silent label neuron", ge=0)
    label_smoothing: float = setting(
        0.0, "share of the target distribution that is spread evenly over all classes", ge=0, lt=1
    )

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: Reduction = "mean") -> Tensor:
        """:func:`latency_loss` for the batch's labels."""
        return latency_loss(
            spikes_TBN,
            times_TBN,
            batch.label_B,
            beta_softmax=self.beta_softmax,
            lambda_no_spike=self.lambda_no_spike,
            label_smoothing=self.label_smoothing,
            reduction=reduction,
        )
