"""The spike-train loss: the distance of filtered spike trains (SPEC 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..events import Batch
from ..settings import setting
from .checks import check_channels, check_target
from .loss import LOSSES
from .reduction import Reduction, check_reduction
from .targets import TargetCounts

EXTEND_STEPS = 200
"""The difference is followed so many steps past the window."""
MAX_KERNEL_STEPS = 1000
MIN_KERNEL = 1e-6
KAPPA_EXP = 0.95


def trace_kernel(kappa_exp: float, time_steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """κ[k] = κ_exp^k, kept for k < min(T, 1000) while κ[k] > 1e−6.

    Examples:
        >>> trace_kernel(0.5, 4).tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    kappa_K = torch.tensor(kappa_exp, dtype=torch.float64) ** torch.arange(min(time_steps, MAX_KERNEL_STEPS))
    return kappa_K[kappa_K > MIN_KERNEL].to(dtype)


def trace_slope(kappa_K: Tensor) -> Tensor:
    """κ*[k] = (κ[k+1] − κ[k−1]) / 2 for k = −1 … K, with κ = 0 outside its support; length K + 2.

    Examples:
        >>> trace_slope(torch.tensor([1.0, 0.5])).tolist()
        [0.5, 0.25, -0.5, -0.25]
    """
    return (F.pad(kappa_K, (0, 2)) - F.pad(kappa_K, (2, 0))) / 2


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # they outlive the validation that may need them first
def _kernels(kappa_exp: float, time_steps: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both kernels on a device, to which they are copied once and not in every step."""
    kappa_K = trace_kernel(kappa_exp, time_steps, dtype).to(device)
    return kappa_K, trace_slope(kappa_K)


def filter_trains(trains_TBN: Tensor, kernel_K: Tensor, extend: int, lead: int = 0) -> Tensor:
    """Σ_k kernel[k] x[t − k + lead] for t = 0 … T + extend − 1; the kernel's first entry is k = 0 (k = −lead)."""
    steps = len(trains_TBN)
    rows = trains_TBN.flatten(1).t()[:, None]
    padded = F.pad(rows, (len(kernel_K) - 1, max(extend + lead, 0)))
    filtered = F.conv1d(padded, kernel_K.flip(0)[None, None])[..., lead : lead + steps + extend]
    return filtered[:, 0].t().reshape(steps + extend, *trains_TBN.shape[1:])


def spike_train_loss(
    spikes_TBN: Tensor,
    times_TBN: Tensor,
    target_TBN: Tensor,
    *,
    kappa_exp: float = KAPPA_EXP,
    extend: int = EXTEND_STEPS,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = Σ d² / (T·B) with d = κ ∗ (S − S*), followed ``extend`` steps past T.

    Delaying a spike by dt̂ moves its trace κ to the right, d += −κ* dt̂; so the timing channel enters as a term that is
    zero and whose gradient is δt̂[t] = −2/(T·B) Σ_{k≥−1} κ*[k] d[t+k] at spikes.

    Args:
        spikes_TBN: output spikes, 0/1.
        times_TBN: output spike times in steps (differentiable channel).
        target_TBN: S*, the target spikes, 0/1.
        kappa_exp: what is left of a spike's trace after one step.
        extend: how far the difference is followed past the window, in steps.
        reduction: the mean over samples, or the loss of each.

    Raises:
        ValueError: the shapes do not fit, or ``reduction`` is neither.

    Examples:
        >>> trains_TBN = torch.eye(4)[:, None]
        >>> spike_train_loss(trains_TBN, torch.zeros_like(trains_TBN), trains_TBN).item()
        0.0
    """
    check_channels(spikes_TBN, times_TBN)
    check_target(target_TBN, spikes_TBN.shape, "target_TBN")
    check_reduction(reduction)
    steps = len(spikes_TBN)
    kappa_K, slope_K = _kernels(kappa_exp, steps, spikes_TBN.dtype, spikes_TBN.device)
    moved_TBN = (times_TBN - times_TBN.detach()) * spikes_TBN.detach()
    trace = filter_trains(spikes_TBN - target_TBN, kappa_K, extend)
    distance = trace - filter_trains(moved_TBN, slope_K, extend, lead=1)
    loss_B = distance.square().sum((0, 2)) / steps
    return loss_B if reduction == "none" else loss_B.mean()


def even_trains(target_BN: Tensor, time_steps: int) -> Tensor:
    """Target trains for classification: n spikes spread evenly, at floor((i + 1/2) T / n) for i = 0 … n − 1.

    Args:
        target_BN: the number of spikes wanted of each output neuron; at most one per step.
        time_steps: T.

    Examples:
        >>> even_trains(torch.tensor([[2]]), 8).flatten()
        tensor([0., 1., 0., 0., 0., 1., 0., 0.])
    """
    edges = torch.arange(time_steps + 1, device=target_BN.device, dtype=torch.float64)[:, None, None]
    seen = torch.floor(edges * target_BN.clamp(max=time_steps) / time_steps + 0.5)
    return seen.diff(dim=0).to(torch.get_default_dtype())


@LOSSES.register("spike_train")
@dataclass(frozen=True)
class SpikeTrain(TargetCounts):
    """Output trains are to equal target trains, blurred by an exponential.

    A task without target trains is a classification, in which each output neuron is to fire its number of spikes spread
    evenly over the window.
    """

    needs_labels: ClassVar[bool] = False

    kappa_exp: float = setting(KAPPA_EXP, "share of a spike's trace that is left after one step", ge=0, le=1)

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: Reduction = "mean") -> Tensor:
        """:func:`spike_train_loss` for the batch's target trains, or for even ones by its labels."""
        target_TBN = batch.target_TBN
        if target_TBN is None:
            target_TBN = even_trains(self.counts(spikes_TBN, batch), len(spikes_TBN))
        target_TBN = target_TBN.to(spikes_TBN.dtype)
        return spike_train_loss(spikes_TBN, times_TBN, target_TBN, kappa_exp=self.kappa_exp, reduction=reduction)

    def problems(self, config: Any) -> Iterator[str]:
        """Impossible numbers of spikes, where these make the target trains."""
        if config.has_labels:
            yield from super().problems(config)
