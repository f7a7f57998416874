"""Numbers that are not finite: in which layer they arose, and what is likely to have caused them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from .layers import SpikingLayer
from .network import Network

LARGE_WEIGHT = 1e9
PARAMETERS = ("bias", "weight", "recurrent_weight", "delay_steps")
"""Of a layer, in the order in which they are looked at; a layer may lack the last two."""
NEVER = 2**62
REMEDY = "try a smaller optim.lr, optim.grad_clip_algorithm=norm or optim.schedule=cosine"


class Trouble(NamedTuple):
    """What is not finite, and the likely cause."""

    what: str
    cause: str

    def sentence(self, epoch: int, step: int) -> str:
        """What a run says that stops in this epoch and step."""
        return (
            f"{self.what} in epoch {epoch}, step {step}; likely cause: {self.cause}; "
            f"the weights of the last checkpoint are kept; {REMEDY}"
        )


def loss_trouble(network: Network) -> Trouble:
    """The loss is a function of the output layer's spikes alone, which are always finite."""
    what = f"the loss, at layer {len(network.spiking)} (the output), is not finite"
    return Trouble(what, "a setting of the loss, such as objective.beta_softmax, is too large for its spike times")


def gradient_trouble(network: Network) -> Trouble | None:
    """The uppermost gradient that is not finite: errors come down from the output, so it arose in that layer."""
    for number, layer, name in _downward(network):
        gradient = attrgetter(name)(layer).grad
        if gradient is not None and not _is_finite([gradient]):
            return _of_gradient(network, number, layer, name)
    return None


class Watch:
    """Notices a loss or gradient that is not finite on the device itself, which nobody has to wait for.

    Which step was the first is read where numbers are read anyway: when a step is logged, before a checkpoint and at
    the end of an epoch. Weights may have taken up what is not finite by then; they are not kept.

    Args:
        network: whose gradients are watched.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._first_K: Tensor | None = None  # for the loss, then the gradients from the uppermost: the first bad step

    def notice(self, step: int, numbers: list[Tensor], first: int) -> None:
        """Remember the step if one of these numbers is not finite.

        Args:
            step: the step.
            numbers: scalars.
            first: the place of the first one: 0 is the loss, then come the gradients.
        """
        given_K = torch.stack(numbers)
        if self._first_K is None:
            size = 1 + len(_downward(self.network))
            self._first_K = torch.full((size,), NEVER, dtype=torch.int64, device=given_K.device)
        own_K = self._first_K[first : first + len(numbers)]
        own_K.copy_(torch.where(given_K.isfinite(), own_K, own_K.clamp(max=step)))

    def notice_gradients(self, step: int) -> Tensor:
        """Remember the step if a gradient is not finite; returns the norm of all of them, float64."""
        gradients = [attrgetter(name)(layer).grad for _, layer, name in _downward(self.network)]
        norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients if g is not None]
        if len(norms) == len(gradients):
            self.notice(step, norms, 1)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm

    def read(self) -> tuple[Trouble, int] | None:
        """What was noticed first, and in which step; waits for the device."""
        if self._first_K is None:
            return None
        first_K = self._first_K.tolist()
        if (step := min(first_K)) == NEVER:
            return None
        if (place := first_K.index(step)) == 0:
            return loss_trouble(self.network), step
        return _of_gradient(self.network, *_downward(self.network)[place - 1]), step


def _downward(network: Network) -> list[tuple[int, SpikingLayer, str]]:
    """All parameters by layer number, layer and name, from the output down."""
    numbered = reversed(list(enumerate(network.spiking, 1)))
    return [
        (number, layer, name)
        for number, layer in numbered
        for name in (*PARAMETERS, *(f"learned.{name}" for name in (layer.learned.names if layer.learned else ())))
        if (parameter := attrgetter(name)(layer)) is not None and parameter.requires_grad
    ]


def _of_gradient(network: Network, number: int, layer: SpikingLayer, name: str) -> Trouble:
    return Trouble(f"the gradient of layer {number}'s {name} is not finite", _cause(network, layer))


def _drive(layer: SpikingLayer) -> float:
    """The largest drive that spikes of height 1 can make; not finite where a weight or delay is not."""
    drive = layer.weight.detach().abs().flatten(1).sum(1, dtype=torch.float64)
    if layer.recurrent_weight is not None:
        drive = drive + layer.recurrent_weight.detach().abs().sum(1, dtype=torch.float64)
    if layer.delay_steps is not None:
        drive = drive + 0 * layer.delay_steps.detach().sum(dtype=torch.float64)
    return float(drive.max())


def _cause(network: Network, layer: SpikingLayer) -> str:
    largest = float(layer.weight.detach().abs().max())
    if not largest < LARGE_WEIGHT:
        return f"its weights have grown to {largest:.2g}"
    if network.rule.learns_from_times:
        return "spikes at which its potential hardly rises (1/V* is large), so that errors of spike times explode"
    return "errors that grow from step to step through large weights or a high surrogate (learning.ste_alpha)"


def state_trouble(network: Network, moments: Iterable[Tensor], time_steps: int) -> Trouble | None:
    """The lowest layer whose weights are not finite, or may drive its potential past the largest number; the optimiser.

    |V| ≤ T (β_V β_I T Σ|w| + β_b |b|), so the potentials, which no engine keeps, need not be looked at.

    Args:
        network: with its weights.
        moments: what the optimiser remembers.
        time_steps: T.
    """
    neuron = network.neuron
    for number, layer in enumerate(network.spiking, 1):
        drive = _drive(layer)
        bias = float(layer.bias.detach().abs().max())
        largest = time_steps * (neuron.beta_v * neuron.beta_i * time_steps * drive + neuron.beta_bias * bias)
        if layer.learned is not None and not _is_finite(p.detach() for p in layer.learned.parameters()):
            return Trouble(
                f"the learned constants of layer {number} are not finite", "too large a neuron.learn_lr_factor"
            )
        if not math.isfinite(drive + bias):
            return Trouble(f"the weights of layer {number} are not finite", "a step of optim.lr that was too large")
        if largest > torch.finfo(layer.weight.dtype).max:
            size = max(drive / layer.fan_in, bias)
            what = f"the membrane potential of layer {number} may not be finite"
            return Trouble(what, f"weights or biases of {size:.2g}, times neuron.beta_v")
    if not _is_finite(moments):
        return Trouble("the optimiser's state is not finite", "gradients whose squares overflow; see optim.grad_clip")
    return None


def _is_finite(tensors: Iterable[Tensor]) -> bool:
    return all(math.isfinite(t.sum(dtype=torch.float64)) for t in tensors)
