"""Synapses: the linear maps between layers, with their two transposes; time and batch are one axis to them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends import cudnn
from torch.nn import grad


class Synapses(Protocol):
    """A map drive = W·S that is linear in the spikes and in the weight."""

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """Weighted spikes [T, B, *N] of spikes [T, B, *M]."""

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Wᵀ·error: from [T, B, *N] to the shape of ``spikes``."""

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Σ_{t,b} error·spikesᵀ, in the shape of ``weight``."""


class Dense:
    """Every neuron sees every input: weight [N, M]."""

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """S·Wᵀ for the whole window at once."""
        return F.linear(spikes, weight)

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """error·W."""
        return error @ weight

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """errorᵀ·S summed over time and batch."""
        return error.flatten(0, 1).t() @ spikes.flatten(0, 1)


def _as_products(tensor: Tensor) -> AbstractContextManager[None]:
    """Convolutions as exact as products (``torch.set_float32_matmul_precision``): cuDNN's own default is TF32."""
    if not tensor.is_cuda:
        return nullcontext()
    tf32 = torch.get_float32_matmul_precision() != "highest"
    kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    return cudnn.flags(**kept, allow_tf32=tf32)


@dataclass(frozen=True)
class Conv:
    """Two-dimensional convolution, padding K // 2: weight [C_out, C_in, K, K].

    Args:
        stride: rows and columns from one window to the next.
    """

    stride: int = 1

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """All steps and samples as one batch of images."""
        with _as_products(spikes):
            images = F.conv2d(spikes.flatten(0, 1), weight, **self._windows(weight))
        return images.unflatten(0, spikes.shape[:2])

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The transposed convolution."""
        shape = spikes.flatten(0, 1).shape
        with _as_products(error):
            images = grad.conv2d_input(shape, weight, error.flatten(0, 1), **self._windows(weight))
        return images.view_as(spikes)

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The correlation of error and spikes."""
        images, errors = spikes.flatten(0, 1), error.flatten(0, 1)
        with _as_products(error):
            return grad.conv2d_weight(images, weight.shape, errors, **self._windows(weight))

    def _windows(self, weight: Tensor) -> dict[str, int]:
        return {"stride": self.stride, "padding": weight.shape[-1] // 2}
