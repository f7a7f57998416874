"""The GPU engine: products by PyTorch, time loops by Triton, layer by layer.

For each layer one product of the whole window gives the drive, and one kernel runs its neurons through all steps with
their states in registers; backwards one kernel runs the learning rule and the scan in reverse, and one product of both
errors takes them to the layer below. Between layers spikes are bytes. Autograd ties the layers together by placeholders
without memory, whose gradients are the two errors.

Nothing here waits for the device, and all shapes follow from the input's: a CUDA graph can capture a step.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..activity import LayerActivity
from ..autograd import Function, first_derivative_only
from ..events import SpikeEvents
from ..layers import AveragePool, Flatten, MaxPool, SpikingLayer
from ..layers.synapses import Conv, Dense, Synapses
from ..neuron.lif import Neuron
from ..rules.rule import Rule
from .engine import ENGINES, NetworkOutput
from .inspect import changed, delays, loops
from .layerwise import until_first_output

if TYPE_CHECKING:
    from ..network import Network


GATHERED_BELOW = 1 / 32
"""Input of a smaller density is gathered event by event: that many rows of weights take less time than the product."""


@cache
def _installed() -> bool:
    return find_spec("triton") is not None


class Gathered(NamedTuple):
    """Input events [T, B, M] as two sorted lists, for the sums that a product with few ones in it comes down to.

    Args:
        neurons_E, starts_R: the neuron of each event, sorted by row t·B + b, and where each row starts.
        rows_E, starts_M: the row of each event, sorted by neuron, and where each neuron starts.
        shape: [T, B, M].
    """

    neurons_E: Tensor
    starts_R: Tensor
    rows_E: Tensor
    starts_M: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, events: SpikeEvents) -> Gathered:
        """The lists of events, made on their device."""
        shape = (events.time_steps, events.batch_size, prod(events.shape))
        row_E, neuron_E = events.steps_E.long() * shape[1] + events.samples_E(), events.neurons_E.long()
        lists: list[Tensor] = []
        for key_E, value_E, places in ((row_E, neuron_E, shape[0] * shape[1]), (neuron_E, row_E, shape[2])):
            sorted_E, order_E = key_E.sort(stable=True)
            starts = torch.searchsorted(sorted_E, torch.arange(places, device=key_E.device))
            lists += [value_E[order_E], starts]
        rows, neurons = lists[:2], lists[2:]
        return cls(rows[0], rows[1], neurons[0], neurons[1], shape)

    def drive(self, weight_NM: Tensor) -> Tensor:
        """S·Wᵀ: the sum of the weights of each row's events, in their order."""
        sums_RN = F.embedding_bag(self.neurons_E, weight_NM.t().contiguous(), self.starts_R, mode="sum")
        return sums_RN.view(*self.shape[:2], -1)

    def weight_gradient(self, error_TBN: Tensor) -> Tensor:
        """errorᵀ·S: the sum of the errors at each neuron's events, in their order."""
        return F.embedding_bag(self.rows_E, error_TBN.flatten(0, 1), self.starts_M, mode="sum").t().contiguous()


class Train(NamedTuple):
    """The spikes of a layer on their way to the next one.

    Args:
        spikes: [T, B, *N], bytes 0/1, or floats where they are something else; or Gathered, few input events.
        by_value, by_time: the placeholders, [T, B, *N], whose gradients are dL/dS and dL/dt̂; None where nobody asks.
    """

    spikes: Any
    by_value: Tensor | None
    by_time: Tensor | None


class _Layer(Function):
    """A spiking layer: from the spikes below to its own, with their placeholders and counts [B, N]."""

    @staticmethod
    def forward(
        ctx: Any,
        spikes: Any,
        by_value: Tensor | None,
        by_time: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        synapses: Synapses,
        neuron: Neuron,
        rule: Rule,
        learns: bool,
    ) -> tuple[Tensor, ...]:
        from . import triton_rule

        if isinstance(spikes, Gathered):
            drive, lists = spikes.drive(weight), [*spikes[:4]]
        else:
            drive, lists = synapses.drive(spikes.to(weight.dtype), weight), [spikes]
        own = torch.empty_like(drive, dtype=torch.uint8)
        counts, last = (drive.new_empty(drive[0].shape, dtype=torch.int32) for _ in range(2))
        currents = torch.empty_like(drive) if learns and rule.asks_for("current", "lost_current") else None
        potentials = drive if learns else None  # in the place of the drive, which has been read by then
        arrays = {"drive": drive, "bias": bias, "potentials": potentials, "currents": currents, "spikes": own}
        written = {"counts": counts, "last": last, "max_spikes": neuron.max_spikes}
        _launch(triton_rule.forward_kernel(not drive.is_cuda), drive, bias, arrays | written | _constants(neuron))
        ctx.save_for_backward(weight, bias, drive, currents, counts, last, *lists)
        ctx.synapses, ctx.neuron, ctx.rule, ctx.shape = synapses, neuron, rule, spikes.shape
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(own, counts)
        placeholder = drive.new_zeros(())
        return own, placeholder.expand(drive.shape), placeholder.clone().expand(drive.shape), counts

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, _: None, error_S: Tensor | None, error_t: Tensor | None, __: None) -> tuple[Any, ...]:
        from . import triton_rule

        weight, bias, potentials, currents, counts, last, *lists = ctx.saved_tensors
        spikes: Any = lists[0] if len(lists) == 1 else Gathered._make([*lists, ctx.shape])
        neuron, rule = ctx.neuron, ctx.rule
        _, to_value, to_time, to_weight, to_bias, *_ = ctx.needs_input_grad
        errors = potentials.new_empty(1 + to_time, *potentials.shape)
        bias_error = potentials.new_empty(counts.shape)
        arrays = {
            "error_S": error_S.contiguous() if error_S is not None and rule.learns_from_spikes else None,
            "error_t": error_t.contiguous() if error_t is not None and rule.learns_from_times else None,
            "potentials": potentials,
            "currents": currents,
            "counts": counts,
            "last": last,
            "bias": bias,
            "drive_error": errors[0],
            "shift_error": errors[1] if to_time else None,
            "bias_error": bias_error,
        }
        constants = {"ahead_v": neuron.beta_v * neuron.alpha_v, "half_i": neuron.beta_i / 2}
        constants |= {"THROUGH_RESET": rule.through_reset, **triton_rule.settings(rule), **_constants(neuron)}
        _launch(triton_rule.backward_kernel(rule, not potentials.is_cuda), potentials, bias, arrays | constants)
        below = errors[0 if to_value else 1 :][: to_value + to_time]
        pulled = _pull_back(ctx.synapses, below, weight, spikes) if len(below) else below
        value_error = pulled[0] if to_value else None
        time_error = pulled[-1] if to_time else None
        if time_error is not None and spikes.is_floating_point():  # the height of a spike that is not 0 or 1
            time_error = time_error * spikes
        weight_error = None
        if to_weight and isinstance(spikes, Gathered):
            weight_error = spikes.weight_gradient(errors[0])
        elif to_weight:
            weight_error = ctx.synapses.weight_gradient(errors[0], weight, spikes.to(weight.dtype))
        grad_bias = neuron.beta_bias * bias_error.view(len(bias_error), len(bias), -1).sum((0, 2)) if to_bias else None
        return None, value_error, time_error, weight_error, grad_bias, None, None, None, None


def _pull_back(synapses: Synapses, errors: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
    """Both errors [2, T, B, *N], or one of them, to the shape of the spikes below, by one product."""
    like = weight.new_empty(()).expand(len(errors) * len(spikes), *spikes.shape[1:])
    back: Tensor = synapses.pull_back(errors.flatten(0, 1), weight, like).unflatten(0, (len(errors), len(spikes)))
    return back


def _launch(kernel: Any, states: Tensor, bias: Tensor, arguments: dict[str, Any]) -> None:
    """Run a kernel over states [T, B, *N]."""
    from ..kernels import triton_build

    steps, samples = states.shape[:2]
    neurons = prod(states.shape[2:])
    sizes = {"steps": steps, "samples": samples, "neurons": neurons, "pixels": neurons // len(bias)}
    triton_build.launch(kernel, samples, neurons, states.device, arguments | sizes)


def _constants(neuron: Neuron) -> dict[str, Any]:
    names = ("alpha_v", "alpha_i", "beta_v", "beta_i", "beta_bias")
    constants = {name: float(getattr(neuron, name)) for name in names}
    return constants | {"theta": float(neuron.threshold), "RESET": neuron.reset}


class _Shown(Function):
    """Both channels of the output layer as numbers; their gradients are those of the placeholders."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, by_value: Tensor, by_time: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        shown = spikes.to(by_value.dtype)
        steps = torch.arange(len(shown), dtype=shown.dtype, device=shown.device)
        return shown, shown * steps.view(-1, *[1] * (shown.dim() - 1))

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error_S: Tensor | None, error_t: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, error_S, error_t


class _Pooled(Function):
    """The placeholders behind pooling: an error goes back to its whole window, or to the place that won there."""

    @staticmethod
    def forward(
        ctx: Any, by_value: Tensor | None, by_time: Tensor | None, won: Tensor | None, size: int, shape: Any
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(won)
        placeholders = [one for one in (by_value, by_time) if one is not None]
        ctx.size, ctx.before = size, placeholders[0].shape if placeholders else None
        return tuple(None if one is None else one.new_zeros(()).expand(shape) for one in (by_value, by_time))

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, *errors: Tensor | None) -> tuple[Any, ...]:
        return *(None if error is None else _unpooled(ctx, error) for error in errors), None, None, None


def _unpooled(ctx: Any, error: Tensor) -> Tensor:
    """Windows do not overlap, so that every place gets one number: no sum whose order could differ."""
    (won,), size, (*_, rows, columns) = ctx.saved_tensors, ctx.size, ctx.before
    spread, rest = _spread(error, size), (0, columns - columns // size * size, 0, rows - rows // size * size)
    if won is None:
        return F.pad(spread / size**2, rest)
    places = torch.arange(rows * columns, device=error.device).view(rows, columns)
    return F.pad(torch.where(_spread(won, size) == places[: spread.shape[-2], : spread.shape[-1]], spread, 0), rest)


def _spread(pooled: Tensor, size: int) -> Tensor:
    """Each value at all places of its window."""
    return pooled.repeat_interleave(size, -1).repeat_interleave(size, -2)


def _passed_on(layer: Any, train: Train) -> Train:
    """The spikes behind a layer without neurons."""
    spikes, by_value, by_time = train
    if isinstance(spikes, Gathered):
        return train
    if isinstance(layer, Flatten):
        return Train(*(None if one is None else one.flatten(2) for one in train))
    images, won = spikes.flatten(0, 1).float(), None
    if isinstance(layer, MaxPool):
        images, won = F.max_pool2d(images, layer.size, return_indices=True)
        images, won = images.to(spikes.dtype), won.unflatten(0, spikes.shape[:2])
    else:
        images = F.avg_pool2d(images, layer.size)
    pooled = images.unflatten(0, spikes.shape[:2])
    return Train(pooled, *_Pooled.apply(by_value, by_time, won, layer.size, pooled.shape))


class _DecisionSpikes(Function):
    """A layer's spikes in the steps that count, float [B]; differentiable in the spikes."""

    @staticmethod
    def forward(ctx: Any, by_value: Tensor, totals_TB: Tensor, heard_TB: Tensor) -> Tensor:
        ctx.save_for_backward(heard_TB)
        ctx.shape = by_value.shape
        return (totals_TB * heard_TB).sum(0).to(by_value.dtype)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, cost_B: Tensor) -> tuple[Tensor, None, None]:
        (heard_TB,) = ctx.saved_tensors
        cost_TB = cost_B * heard_TB
        return cost_TB.view(*cost_TB.shape, *[1] * (len(ctx.shape) - 2)).expand(ctx.shape), None, None


class Triton:
    """Any layers and rules that are known here, float32, on a GPU; states in registers over the whole window."""

    preference = 20
    device = "cuda"

    def obstacle(self, network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        """Anything that is not known here; see :class:`app.engines.engine.Engine`."""
        return (
            self._machine_obstacle(network) or self._network_obstacle(network) or self._input_obstacle(network, spikes)
        )

    def run(self, network: Network, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch; see :class:`app.engines.engine.Engine`."""
        train, trains = self._input(network, spikes), []
        for layer in network.layers:
            if isinstance(layer, SpikingLayer):
                train, counts = self._spiking(layer, train, network.neuron, network.rule)
                trains.append((train, counts))
            else:
                train = _passed_on(layer, train)
        heard_TB = until_first_output(train.spikes)
        layers, decisions = [], []
        for one, counts in trains:
            fired = one.spikes
            if stop_at_first_output:
                fired = fired * heard_TB.view(*heard_TB.shape, *[1] * (fired.dim() - 2))
                counts = fired.sum(0, dtype=torch.int32)
            totals_TB = fired.flatten(2).sum(2, dtype=torch.int32)
            layers.append(LayerActivity(counts.flatten(1), totals_TB, fired))
            decisions.append(_DecisionSpikes.apply(one.by_value, totals_TB, heard_TB))
        shown = _Shown.apply(layers[-1].spikes, train.by_value, train.by_time)
        return NetworkOutput(shown[0], shown[1], layers, torch.stack(decisions, 1))

    @staticmethod
    def _input(network: Network, spikes: SpikeEvents | Tensor) -> Train:
        if isinstance(spikes, SpikeEvents):
            spikes.check()
            events = spikes.to(next(network.parameters()).device)
            if len(events.steps_E) < GATHERED_BELOW * events.time_steps * events.batch_size * prod(events.shape):
                heard = next(layer for layer in network.layers if type(layer) is not Flatten)
                if isinstance(heard, SpikingLayer) and type(heard.synapses) is Dense:
                    return Train(Gathered.of(events), None, None)
            return Train(events.to_dense(torch.uint8), None, None)
        return Train(spikes.detach(), spikes if spikes.requires_grad else None, None)

    @staticmethod
    def _spiking(layer: SpikingLayer, train: Train, neuron: Neuron, rule: Rule) -> tuple[Train, Tensor]:
        spikes, by_value, by_time = train
        layer.check((spikes,))
        by_value = by_value if rule.learns_from_spikes else None  # errors that nobody asks for are not computed
        by_time = by_time if rule.learns_from_times else None
        how = (layer.synapses, neuron, rule, torch.is_grad_enabled())
        *own, counts = _Layer.apply(spikes, by_value, by_time, layer.weight, layer.bias, *how)
        return Train(*own), counts

    @staticmethod
    def _machine_obstacle(network: Network) -> str | None:
        for parameter in network.parameters():
            if parameter.dtype != torch.float32:
                return f"its weights are {str(parameter.dtype).removeprefix('torch.')} instead of float32"
            place = parameter.device.type
            if place != "cuda" and not (place == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
                return f"it is on {parameter.device}, not on a GPU"
        return None if _installed() else "Triton is not installed"

    @staticmethod
    def _network_obstacle(network: Network) -> str | None:
        if type(network.neuron) is not Neuron:
            return f"its neuron {type(network.neuron).__name__} is unknown to it"
        for layer in network.layers:
            spiking = type(layer) is SpikingLayer
            own: Any = layer.synapses if spiking else layer
            known = type(own) in ((Dense, Conv) if spiking else (AveragePool, MaxPool, Flatten))
            if not known:
                return f"its layer {layer!r} is unknown to it"
            if reason := changed(layer) or loops(layer) or delays(layer):
                return f"its layer {layer!r} {reason}"
            if isinstance(layer, SpikingLayer) and len(layer.bias) != len(layer.weight):
                return f"its layer {layer!r} has {len(layer.bias)} biases"
        if not network.layers or type(network.layers[-1]) is not SpikingLayer:
            return "it does not end with a spiking layer"
        from . import triton_rule

        return triton_rule.obstacle(network.rule)

    @staticmethod
    def _input_obstacle(network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        if isinstance(spikes, Tensor) and spikes.dtype != torch.float32:
            return f"its input is {str(spikes.dtype).removeprefix('torch.')} instead of float32"
        device = next(network.parameters()).device
        if isinstance(spikes, Tensor) and spikes.device != device:
            return f"its input is on {spikes.device}, its weights are on {device}"
        return None


ENGINES.register("triton")(Triton())
