"""Synapses: the linear maps between layers, with their two transposes; time and batch are one axis to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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


PRODUCTS = ("float32", "tf32", "bf16")
"""What products of weights with spikes or errors are computed in; what comes out of them is as wide as what went in."""


@dataclass(frozen=True)
class Dense:
    """Every neuron sees every input: weight [N, M].

    Args:
        products: one of :data:`PRODUCTS`.
    """

    products: str = "float32"

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """S·Wᵀ for the whole window at once."""
        return _product(self.products, F.linear, spikes, weight)

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """error·W."""
        return _product(self.products, torch.matmul, error, weight)

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """errorᵀ·S summed over time and batch."""
        return _product(self.products, torch.matmul, error.flatten(0, 1).t(), spikes.flatten(0, 1))


def _product(products: str, function: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> Tensor:
    """A product in the arithmetic that was asked for: bfloat16 rounds both and the result to 8 bits, TF32 both to 10.

    Sums within it have 32 bits. TF32 is the arithmetic of GPUs; elsewhere its products are those of float32.
    """
    if products == "bf16":
        return function(one.bfloat16(), other.bfloat16()).to(one.dtype)
    with _as_asked(one, products):
        return function(one, other)


@contextmanager
def _as_asked(tensor: Tensor, products: str = "float32") -> Iterator[None]:
    """Convolutions of a GPU as exact as products (``torch.set_float32_matmul_precision``); cuDNN would take TF32."""
    if not tensor.is_cuda:
        yield
        return
    before = torch.get_float32_matmul_precision()
    if products == "tf32":
        torch.set_float32_matmul_precision("high")
    kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    try:
        with cudnn.flags(**kept, allow_tf32=torch.get_float32_matmul_precision() != "highest"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class Conv:
    """Two-dimensional convolution, padding K // 2: weight [C_out, C_in, K, K].

    Args:
        stride: rows and columns from one window to the next.
        products: one of :data:`PRODUCTS`.
    """

    stride: int = 1
    products: str = "float32"

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """All steps and samples as one batch of images."""
        convolve = partial(F.conv2d, **self._windows(weight))
        drive: Tensor = _product(self.products, convolve, spikes.flatten(0, 1), weight).unflatten(0, spikes.shape[:2])
        return drive

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The transposed convolution."""
        windows, shape = self._windows(weight), spikes.flatten(0, 1).shape
        return _product(
            self.products,
            lambda errors, w: grad.conv2d_input(shape, w, errors, **windows),
            error.flatten(0, 1),
            weight,
        ).view_as(spikes)

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The correlation of error and spikes."""
        windows = self._windows(weight)
        return _product(
            self.products,
            lambda errors, images: grad.conv2d_weight(images, weight.shape, errors, **windows),
            error.flatten(0, 1),
            spikes.flatten(0, 1),
        )

    def _windows(self, weight: Tensor) -> dict[str, int]:
        return {"stride": self.stride, "padding": weight.shape[-1] // 2}
