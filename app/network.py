"""Networks of spiking layers from a specification such as ``["2x34x34", "conv12c5", "apool2", "flatten", "fc10"]``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activity import LayerActivity
from .errors import UserError
from .events import SpikeEvents
from .neuron.lif import Neuron
from .rules.fused import run_stack
from .rules.rule import Rule
from .rules.spiking import connect, fire
from .rules.synapses import Conv, Dense

Shape = tuple[int, ...]
Channels = tuple[Tensor, Tensor]
Engine = Literal["auto", "reference", "numba"]
MOST_NEURONS, MOST_WEIGHTS = 2**24, 2**28
"""Of one layer. More would exhaust the memory of ordinary machines while the network is built, or in its first step."""


class NetworkOutput(NamedTuple):
    """What a batch made of a network with L spiking layers.

    Args:
        spikes_TBN, times_TBN: both channels of the output layer, [T, B, N].
        layers: the activity of every spiking layer, first to last.
        decision_BL: spikes of every layer up to and including the step of the sample's first output spike (all of them
            where no output neuron fires), float [B, L]. Differentiable in the number of spikes, not in the step. None
            once only the numbers are needed.
    """

    spikes_TBN: Tensor
    times_TBN: Tensor
    layers: list[LayerActivity]
    decision_BL: Tensor | None = None


class SpikingLayer(nn.Module):
    """Synapses with weights W and neurons with biases b.

    Weights start as U(±1/√fan_in), biases at ``bias`` (SPEC 4).
    """

    def __init__(self, synapses: Dense | Conv, weight_shape: Shape, neurons_shape: Shape, bias: float = 0.0) -> None:
        super().__init__()
        self.synapses = synapses
        self.shape = neurons_shape
        self.fan_in = prod(weight_shape[1:])
        self.weight = nn.Parameter(torch.empty(weight_shape).uniform_(-1, 1).mul_(self.fan_in**-0.5))
        self.bias = nn.Parameter(torch.full((weight_shape[0],), float(bias)))

    def forward(self, channels: Channels, neuron: Neuron, rule: Rule) -> Channels:
        """Both channels of this layer's spikes, [T, B, *N]."""
        drive, shift = connect(*channels, self.weight, self.synapses)
        bias = self.bias.view(-1, *[1] * (len(self.shape) - 1))
        return fire(drive, shift, bias, neuron, rule)

    def extra_repr(self) -> str:
        """The layer's size, for print(network)."""
        return f"{type(self.synapses).__name__.lower()}, {tuple(self.weight.shape)} -> {self.shape}"


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


class Network(nn.Module):
    """A feed-forward spiking network that learns by one rule; ``spiking`` are the layers that have neurons.

    Args:
        spec: input shape, then layers: ``fcN``, ``convCcK`` (C channels, K×K, stride 1, padding K // 2), ``apoolP``,
            ``mpoolP``, ``flatten``.
        neuron: constants of all neurons.
        rule: the learning rule that ``backward`` follows.
        bias: what all biases start with.
        engine: which time loops run the network, ``reference`` (plain PyTorch), ``numba``, or ``auto`` for the faster.

    Raises:
        UserError: naming the entry of the specification that cannot be built.
    """

    def __init__(self, spec: list[str], neuron: Neuron, rule: Rule, bias: float = 0.0, engine: Engine = "auto") -> None:
        super().__init__()
        self.engine = engine
        self.spec = list(spec)
        self.neuron = neuron
        self.rule = rule
        self.input_shape, self.layers = _build(self.spec, bias)
        self.spiking: list[SpikingLayer] = [layer for layer in self.layers if isinstance(layer, SpikingLayer)]
        self._layers_obstacle = _layers_obstacle(self.spec, self.layers)
        if engine == "numba" and self._layers_obstacle:
            raise _refusal(self._layers_obstacle)

    def forward(self, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch through all layers, one whole window per layer at a time.

        Args:
            spikes: event lists, or dense 0/1 spikes [T, B, *input_shape].
            stop_at_first_output: follow each sample only to the step of its first output spike: all later spikes are
                missing, there is no gradient, and an engine may save the time. First-spike predictions, decision steps
                and decision spikes are those of the whole window; counts are not.
        """
        obstacle = self._engine_obstacle(spikes)
        if self.engine == "numba" and obstacle:
            raise _refusal(obstacle)
        run = self._run_layers if self.engine == "reference" or obstacle else self._run_events
        if not stop_at_first_output:
            return run(spikes)
        with torch.no_grad():
            return run(spikes, True)

    def _run_layers(self, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """The plain engine: any layers, any device, any floating point type."""
        if isinstance(spikes, SpikeEvents):
            spikes = spikes.to_dense(self.spiking[0].weight.dtype)
        spikes = spikes.reshape(*spikes.shape[:2], *self.input_shape)
        channels, trains = (spikes, spikes), []
        for layer in self.layers:
            if isinstance(layer, SpikingLayer):
                channels = layer(self._differentiable(channels), self.neuron, self.rule)
                trains.append(channels[0])
            else:
                channels = layer(channels)
        heard_TB = _until_first_output(channels[0])
        if stop_at_first_output:
            trains, channels = _cut(trains, heard_TB), _cut(channels, heard_TB)
        decision_BL = torch.stack([(train.flatten(2).sum(2) * heard_TB).sum(0) for train in trains], 1)
        return NetworkOutput(*channels, [LayerActivity.of(train) for train in trains], decision_BL)

    def _run_events(self, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """The event-driven engine: fully connected layers, float32, on the CPU."""
        if not isinstance(spikes, SpikeEvents):
            spikes = SpikeEvents.from_dense(spikes)
        weights, biases = [n.weight for n in self.spiking], [n.bias for n in self.spiking]
        return NetworkOutput(*run_stack(spikes, weights, biases, self.neuron, self.rule, stop_at_first_output))

    def _engine_obstacle(self, spikes: SpikeEvents | Tensor) -> str | None:
        """Why the event-driven engine does not apply; None when it does."""
        parameter = self.spiking[0].weight
        if self._layers_obstacle:
            return self._layers_obstacle
        if parameter.dtype != torch.float32:
            return f"its weights are {str(parameter.dtype).removeprefix('torch.')} instead of float32"
        if parameter.device.type != "cpu" or spikes.device.type != "cpu":
            return f"it is on {parameter.device}, not on the CPU"
        if isinstance(spikes, Tensor) and spikes.requires_grad:
            return "its input requires a gradient"
        if isinstance(spikes, Tensor) and not bool(((spikes == 0) | (spikes == 1)).all()):
            return "its input holds other values than 0 and 1"
        return None

    def _differentiable(self, channels: Channels) -> Channels:
        """Cut the channel that the rule does not learn from, so that its errors are never computed."""
        spikes, times = channels
        return spikes if self.rule.lambda_act else spikes.detach(), times if self.rule.lambda_tim else times.detach()


def _refusal(obstacle: str) -> UserError:
    return UserError(f"engine=numba cannot run this network: {obstacle}; use engine=auto or engine=reference")


def _layers_obstacle(spec: list[str], layers: nn.ModuleList) -> str | None:
    """Why the event-driven engine cannot run these layers; None when it can."""
    unsupported = [entry for entry, layer in zip(spec[1:], layers, strict=True) if not _event_driven(layer)]
    return f"it has {unsupported[0]}, and only fully connected layers are event-driven" if unsupported else None


def _event_driven(layer: nn.Module) -> bool:
    return isinstance(layer, Flatten) or (isinstance(layer, SpikingLayer) and isinstance(layer.synapses, Dense))


def _until_first_output(spikes_TBN: Tensor) -> Tensor:
    """The steps up to and including a sample's first output spike, bool [T, B]."""
    fired_TB = spikes_TBN.detach().any(2)
    return (fired_TB.cumsum(0) - fired_TB.int()) == 0


def _cut(trains: Iterable[Tensor], heard_TB: Tensor) -> list[Tensor]:
    """Trains [T, B, *N] without what comes behind the steps that count."""
    return [train * heard_TB.view(*heard_TB.shape, *[1] * (train.dim() - 2)) for train in trains]


def _build(spec: list[str], bias: float) -> tuple[Shape, nn.ModuleList]:
    if len(spec) < 2:
        raise UserError(f"network={spec} needs an input shape and at least one layer, for example [784,fc800,fc10]")
    input_shape = shape = _input_shape(spec[0])
    layers = nn.ModuleList()
    for position, entry in enumerate(spec[1:], start=2):
        layer, shape = _layer(entry, f"entry {position} of network, {entry!r},", shape, bias)
        layers.append(layer)
    if not isinstance(layers[-1], SpikingLayer) or len(shape) != 1:
        raise UserError(
            f"network must end with a fully connected layer, not with {spec[-1]!r}; append for example fc10"
        )
    return input_shape, layers


def _input_shape(entry: str) -> Shape:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*x[1-9]\d*)?", entry):
        raise UserError(
            f"entry 1 of network, {entry!r}, is no input shape; write 784 or 2x34x34 (channels, rows, columns)"
        )
    shape = tuple(int(n) for n in entry.split("x"))
    _check_size(f"entry 1 of network, {entry!r},", prod(shape), 0)
    return shape


def _check_size(where: str, neurons: int, weights: int) -> None:
    """Refuse a layer before anything of its size is made."""
    for count, most, what in ((neurons, MOST_NEURONS, "neurons"), (weights, MOST_WEIGHTS, "weights")):
        if count > most:
            raise UserError(f"{where} would have {count:.3g} {what}, more than {most}; make it smaller")


def _layer(entry: str, where: str, shape: Shape, bias: float) -> tuple[nn.Module, Shape]:
    """One layer behind ``shape``, and the shape that it returns."""
    kind = re.fullmatch(r"(fc|apool|mpool)([1-9]\d*)|(conv)([1-9]\d*)c([1-9]\d*)|(flatten)", entry)
    if kind is None:
        raise UserError(f"{where} is no layer; known are fcN, convCcK, apoolP, mpoolP and flatten")
    name = kind[1] or kind[3] or kind[6]
    if name == "fc":
        return _dense(int(kind[2]), where, shape, bias)
    if name == "flatten":
        return Flatten(), (prod(shape),)
    if len(shape) != 3:
        raise UserError(
            f"{where} needs an input of channels, rows and columns such as 2x34x34, but gets {shape[0]} neurons"
        )
    if name == "conv":
        return _conv(int(kind[4]), int(kind[5]), where, shape, bias)
    size = int(kind[2])
    if size > min(shape[1:]):
        raise UserError(f"{where} is larger than the {shape[1]}x{shape[2]} image that it gets; use a smaller window")
    return (AveragePool if name == "apool" else MaxPool)(size), (shape[0], shape[1] // size, shape[2] // size)


def _dense(neurons: int, where: str, shape: Shape, bias: float) -> tuple[SpikingLayer, Shape]:
    if len(shape) != 1:
        raise UserError(f"{where} needs one axis, but gets {'x'.join(map(str, shape))}; put flatten before it")
    _check_size(where, neurons, neurons * shape[0])
    return SpikingLayer(Dense(), (neurons, shape[0]), (neurons,), bias), (neurons,)


def _conv(channels: int, size: int, where: str, shape: Shape, bias: float) -> tuple[SpikingLayer, Shape]:
    if size % 2 == 0:
        raise UserError(f"{where} has an even kernel of {size}x{size}; use an odd size, which keeps rows and columns")
    out = (channels, *shape[1:])
    _check_size(where, prod(out), channels * shape[0] * size**2)
    return SpikingLayer(Conv(), (channels, shape[0], size, size), out, bias), out
