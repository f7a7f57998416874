"""The layers of a network as modules: each takes both channels of the spikes below, [T, B, *M], and gives its own."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import reference
from ..neuron.lif import Neuron
from ..rules.layer_rule import LayerRule
from ..rules.rule import Rule
from .delays import Delays
from .learned import LearnedConstants, LearnPer
from .spiking import connect, differentiated, fire
from .synapses import Conv, Dense, Synapses

Shape = tuple[int, ...]
Channels = tuple[Tensor, Tensor]


class SpikingLayer(nn.Module):
    """Synapses with weights W and neurons with biases b, which may hear themselves, and delays on the way to them.

    Weights start as U(±1/√fan_in), biases at ``bias`` (SPEC 4).

    Args:
        synapses: dense or convolutional.
        weight_shape: of W.
        neurons_shape: of the neurons.
        bias: what the biases start with.
        recurrent: the layer hears its own spikes of the step before through ``recurrent_weight`` [N, N], which starts
            as U(±1/√N) when :meth:`draw_recurrent_weight` is called.
        delays: of the synapses from the layer below; ``delay_steps`` start when :meth:`draw_delays` is called.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    recurrent_weight: nn.Parameter | None
    delay_steps: nn.Parameter | None

    def __init__(
        self,
        synapses: Dense | Conv,
        weight_shape: Shape,
        neurons_shape: Shape,
        bias: float = 0.0,
        recurrent: bool = False,
        delays: Delays | None = None,
    ) -> None:
        super().__init__()
        self.synapses = synapses
        self.shape = neurons_shape
        self.fan_in = prod(weight_shape[1:])
        self.weight = nn.Parameter(torch.empty(weight_shape).uniform_(-1, 1).mul_(self.fan_in**-0.5))
        self.bias = nn.Parameter(torch.full((weight_shape[0],), float(bias)))
        own = nn.Parameter(torch.zeros(*neurons_shape, *neurons_shape)) if recurrent else None
        self.register_parameter("recurrent_weight", own)
        self.delays = delays
        steps = nn.Parameter(torch.zeros(delays.shape(weight_shape)), delays.learn) if delays else None
        self.register_parameter("delay_steps", steps)
        self.learned: LearnedConstants | None = None

    def draw_recurrent_weight(self) -> None:
        """Let W_rec start as U(±1/√N); without one, nothing is drawn."""
        if self.recurrent_weight is not None:
            with torch.no_grad():
                self.recurrent_weight.uniform_(-1, 1).mul_(len(self.recurrent_weight) ** -0.5)

    def draw_delays(self) -> None:
        """Let delays start as U(0, max_steps); without any, nothing is drawn."""
        if self.delays is not None and self.delay_steps is not None:
            with torch.no_grad():
                self.delay_steps.uniform_(0, self.delays.max_steps)

    def learn(self, neuron: Neuron, names: Sequence[str], per: LearnPer) -> None:
        """Make constants of the neurons parameters of this layer, which start as those of ``neuron``."""
        self.learned = LearnedConstants(neuron, names, per, self.shape)

    def forward(self, channels: Channels, neuron: Neuron, rule: Rule) -> Channels:
        """Both channels of this layer's spikes, [T, B, *N]."""
        self.check(channels)
        neuron = neuron if self.learned is None else self.learned.of(neuron)
        spikes, times = channels
        spikes = spikes if rule.learns_from_spikes else spikes.detach()  # errors that nobody asks for are not computed
        times = times if rule.learns_from_times else times.detach()
        if isinstance(rule, LayerRule):
            self._check_layer_rule(rule)
            return differentiated(spikes, times, self.weight, self._bias(), self.synapses, neuron, rule)
        drive, shift = connect(spikes, times, self.weight, self._synapses(), self.delay_steps)
        return fire(drive, shift, self._bias(), neuron, rule, self.recurrent_weight)

    def states(self, spikes: Tensor, neuron: Neuron) -> reference.Trajectory:
        """The states of this layer's neurons while it hears spikes [T, B, *M]."""
        self.check((spikes,))
        neuron = neuron if self.learned is None else self.learned.of(neuron)
        drive = self._synapses().drive(spikes, self.weight)
        return reference.forward(drive, self._bias(), neuron, True, self.recurrent_weight)

    def _synapses(self) -> Synapses:
        """With their delays of now."""
        if self.delays is None or self.delay_steps is None:
            return self.synapses
        return self.delays.synapses(self.delay_steps)

    def _check_layer_rule(self, rule: LayerRule) -> None:
        """Refuse what a rule for whole layers has no equation for."""
        for there, what in (
            (self.recurrent_weight, "recurrent layer"),
            (self.delay_steps, "layer with delays"),
            (self.learned, "constants that are learned"),
        ):
            if there is not None:
                raise ValueError(f"the rule {type(rule).__name__} differentiates whole layers and knows no {what}")

    def _bias(self) -> Tensor:
        return self.bias.view(-1, *[1] * (len(self.shape) - 1))

    def check(self, channels: tuple[Tensor, ...]) -> None:
        """Refuse spikes of a shape that the weights cannot hear."""
        for channel in channels:
            axes = tuple(channel.shape[2:])
            if len(axes) != self.weight.dim() - 1 or axes[0] != self.weight.shape[1]:
                raise ValueError(f"a layer with weights {tuple(self.weight.shape)} cannot hear spikes of shape {axes}")

    def extra_repr(self) -> str:
        """The layer's size, for print(network)."""
        extras = ", recurrent" if self.recurrent_weight is not None else ""
        extras += f", {self.delays.kind} delays up to {self.delays.max_steps}" if self.delays else ""
        return f"{type(self.synapses).__name__.lower()}, {tuple(self.weight.shape)} -> {self.shape}{extras}"


class AveragePool(nn.Module):
    """Mean over P×P windows, alike for both channels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, channels: Channels) -> Channels:
        """Both channels, [T, B, C, H // P, W // P]."""
        spikes, times = (F.avg_pool2d(c.flatten(0, 1), self.size).unflatten(0, c.shape[:2]) for c in channels)
        return spikes, times


class MaxPool(nn.Module):
    """Maximum over P×P windows; the time channel follows the spike that won at that step (the first of a tie)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, channels: Channels) -> Channels:
        """Both channels, [T, B, C, H // P, W // P]."""
        spikes, times = (c.flatten(0, 1) for c in channels)
        pooled, index = F.max_pool2d(spikes, self.size, return_indices=True)
        moved = times.flatten(-2).gather(-1, index.flatten(-2)).view_as(pooled)
        return pooled.unflatten(0, channels[0].shape[:2]), moved.unflatten(0, channels[0].shape[:2])


class Flatten(nn.Module):
    """[channel, row, column] to one axis, alike for both channels."""

    def forward(self, channels: Channels) -> Channels:
        """Both channels, [T, B, C·H·W]."""
        return channels[0].flatten(2), channels[1].flatten(2)
