"""The compiled, event-driven CPU engine: all layers of a network as one autograd function.

The compiled kernels pass spikes between layers as events and errors in factored form, so that no [T, B, N] tensor of a
hidden layer exists. Only the output layer's two channels are tensors; any loss may stand on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..activity import LayerActivity, SpikeWords
from ..autograd import Function, first_derivative_only
from ..events import SpikeEvents
from ..kernels import backward as kernels
from ..kernels import compile as compiling
from ..kernels.below import at_points
from ..kernels.forward import forward
from ..kernels.lanes import LANES
from ..kernels.layout import TILE, Constants, Record, Stack, pack
from ..kernels.memory import keep_freed_memory
from ..kernels.threads import parallel
from ..kernels.wiring import Geometry, Plan, Shape, Wiring, wire
from ..layers import AveragePool, Flatten, MaxPool, SpikingLayer
from ..layers.synapses import Conv, Dense
from ..neuron.lif import Neuron
from ..rules.rule import Rule
from . import compiled_rule
from .engine import ENGINES, NetworkOutput
from .inspect import changed, delays

if TYPE_CHECKING:
    from ..network import Network

ALL = 2**LANES - 1
"""A set of all lanes."""
TASKS = 8
"""A layer of few blocks is cut into groups of samples until there are so many tasks."""


@dataclass(frozen=True)
class Recording:
    """One forward run: the input spikes, the layers and what they did."""

    neurons_E: NDArray[np.int32]
    weights: list[NDArray[np.float32]]
    layers: list[Geometry]
    stack: Stack
    record: Record

    def activities(self) -> list[LayerActivity]:
        """The activity of every layer."""
        record, found = self.record, []
        for k, (layer, known) in enumerate(zip(self.layers, self.stack.wiring.layers, strict=True)):
            neurons = slice(known["first_neuron"], known["first_neuron"] + known["neurons"])
            blocks = slice(known["first_block"], known["first_block"] + known["blocks"])
            counts, totals = record.counts_BN[:, neurons], record.totals_BLT[:, k]
            spikes = SpikeWords(record.words_BTP[:, :, blocks], layer.plan.shape, layer.lanes_of())
            found.append(LayerActivity(torch.from_numpy(counts), torch.from_numpy(totals).t(), spikes))
        return found


def run_stack(
    events: SpikeEvents,
    plans: tuple[Plan, ...],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    neuron: Neuron,
    rule: Rule,
    stop_at_first_output: bool = False,
) -> tuple[Tensor, Tensor, list[LayerActivity], Tensor]:
    """Run a batch through convolutional and fully connected layers.

    Args:
        events: the input spikes.
        plans: the spiking layers, with the pooling between them.
        weights: one [N, M], [N, M + N] with W_rec behind W, or [C_out, C_in, K, K] per spiking layer.
        biases: one [N] or [C_out] per spiking layer.
        neuron: the constants of all neurons.
        rule: the learning rule that ``backward`` follows.
        stop_at_first_output: run each sample only to the step of its first output spike (no gradient).

    Returns:
        both channels of the output layer, [T, B, N], the activity of every layer, and the decision spikes [B, L] of
        every layer, all but the activity differentiable.
    """
    keep_freed_memory()
    recording, outputs = _forward(events, plans, weights, biases, neuron, stop_at_first_output)
    if not stop_at_first_output:
        outputs = _Stack.apply(recording, outputs, neuron, rule, *weights, *biases)
    spikes_TBN, times_TBN, decision_BL = outputs
    return spikes_TBN, times_TBN, recording.activities(), decision_BL


class _Stack(Function):
    """Ties what a forward run returns to the gradients of its parameters."""

    @staticmethod
    def forward(
        ctx: Any, recording: Recording, outputs: tuple[Tensor, ...], neuron: Neuron, rule: Rule, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*parameters)
        ctx.recording, ctx.neuron, ctx.rule, ctx.shapes = recording, neuron, rule, [o.shape for o in outputs]
        return outputs

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, *errors: Tensor | None) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # asked for so that autograd notices a parameter that was changed in place
        error, error_t, cost = (torch.zeros(s) if e is None else e for e, s in zip(errors, ctx.shapes, strict=True))
        return None, None, None, None, *_gradients(ctx.recording, error, error_t, cost, ctx.neuron, ctx.rule)


# --- forward ----------------------------------------------------------------------------------------------------------


def _forward(
    events: SpikeEvents,
    plans: tuple[Plan, ...],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    neuron: Neuron,
    stop: bool,
) -> tuple[Recording, tuple[Tensor, Tensor, Tensor]]:
    """Run all layers; returns the recording, both channels of the output layer and the decision spikes."""
    arrays = [weight.detach().contiguous().numpy() for weight in weights]
    layers, wiring = wire(events.shape, plans)
    stack = _stack(layers, wiring, arrays, [bias.detach().numpy() for bias in biases], neuron)
    steps, samples, outputs = events.time_steps, events.batch_size, len(weights[-1])
    record = _empty_record(wiring, samples, steps)
    spikes_TBN, times_TBN = np.empty((2, steps, samples, outputs), np.float32)
    given = [t.contiguous().numpy() for t in (events.steps_E, events.neurons_E, events.offsets_B1)]
    limit = neuron.max_spikes or 0
    parallel(forward, samples, *given, stack, _constants(neuron), limit, stop, record, spikes_TBN, times_TBN)
    if not record.valid_B.all():
        events.check()
    spikes, times, decision = map(torch.from_numpy, (spikes_TBN, times_TBN, record.decision_BL))
    return Recording(given[1], arrays, layers, stack, record), (spikes, times, decision)


def _stack(
    layers: list[Geometry],
    wiring: Wiring,
    weights: Sequence[NDArray[np.float32]],
    biases: Sequence[NDArray[np.float32]],
    neuron: Neuron,
) -> Stack:
    """The weights and biases in the kernels' layout."""
    packed = _aligned((sum(layer.size for layer in layers),))
    biases_GL = np.empty((sum(layer.groups for layer in layers), LANES), np.float32)
    for k, (layer, weight, bias) in enumerate(zip(layers, weights, biases, strict=True)):
        start, first = int(wiring.layers["weights"][k]), int(wiring.layers["biases"][k])
        own = packed[start : start + layer.size]
        if layer.convolves:
            own[:] = layer.stretches(weight)
        else:
            parallel(pack, layer.groups, weight, own.reshape(layer.groups, -1, LANES))
        biases_GL[first : first + layer.groups] = layer.bias_lanes(bias * np.float32(neuron.beta_bias))
    return Stack(wiring, packed, biases_GL)


def _empty_record(wiring: Wiring, samples: int, steps: int) -> Record:
    layers = len(wiring.layers)
    return Record(
        starts_BT1=np.empty((samples, steps + 1), np.int64),
        words_BTP=np.empty((samples, steps, len(wiring.present)), np.uint64),
        totals_BLT=np.empty((samples, layers, steps), np.int32),
        counts_BN=np.empty((samples, wiring.layers["neurons"].sum()), np.int32),
        until_B=np.empty(samples, np.int64),
        decision_BL=np.empty((samples, layers), np.float32),
        valid_B=np.empty(samples, np.bool_),
    )


# --- backward ---------------------------------------------------------------------------------------------------------


def _gradients(
    recording: Recording, error_TBN: Tensor, error_t_TBN: Tensor, cost_BL: Tensor, neuron: Neuron, rule: Rule
) -> list[Tensor]:
    """The gradients of all weights, then of all biases, from the errors of what ``run_stack`` returns."""
    stack, record, layers = recording.stack, recording.record, recording.layers
    error, error_t = (e.contiguous().numpy() for e in (error_TBN, error_t_TBN))
    costs_LB = cost_BL.t().contiguous().numpy()
    samples, steps = record.words_BTP.shape[:2]
    live_B = np.full(samples, steps)
    if rule.zero_without_errors:
        kernels.live_steps(error, error_t, costs_LB, record.until_B, live_B)
    kernel, settings = compiled_rule.backward(rule), compiled_rule.settings(rule)
    common = (_constants(neuron), *settings, neuron.max_spikes or 0, record)
    nothing = np.empty((1, 0, 0, LANES), np.float32)
    upper = (nothing, nothing, np.empty((0, 0), np.float32))
    front = sum(layer.convolves for layer in layers)
    weights, biases = [], []
    for depth in range(len(layers) - 1, front - 1, -1):
        neurons, inputs = recording.weights[depth].shape
        blocks = layers[depth].groups
        padded = LANES if depth == front else TILE
        shape = (samples, blocks, -(-steps // padded) * padded, LANES)
        loops = layers[depth].plan.loops
        own = (_aligned(shape), _aligned(shape)) if depth or loops else (nothing, nothing)
        groups = min(samples, TASKS if loops else -(-TASKS // blocks))
        gradient_GNM = np.empty((groups, neurons, inputs), np.float32)
        bias_gradient_GPL = np.empty((groups, blocks, LANES), np.float32)
        errors = kernels.Errors(live_B, costs_LB, error, error_t, *upper)
        drive_BPUL, shift_BPUL = own
        found = kernels.Gradients(drive_BPUL, shift_BPUL, gradient_GNM, bias_gradient_GPL)
        given = (recording.neurons_E, stack, depth, *common, errors, found)
        if loops:
            parallel(kernel.loop, groups, *given)
        else:
            parallel(kernel.layer, blocks * groups, groups, *given)
        weights.append(gradient_GNM.sum(0) if groups > 1 else gradient_GNM[0])
        biases.append(layers[depth].bias_from_lanes(bias_gradient_GPL.sum(0)))
        upper = (*own, recording.weights[depth])
    if front:
        known = stack.wiring.layers
        weights_BW = np.empty((samples, known["weights"][front]), np.float32)
        biases_BW = np.empty((samples, known["biases"][front] * LANES), np.float32)
        errors = kernels.Errors(live_B, costs_LB, error, error_t, *upper)
        pieces = [at_points(w).ravel() for w, layer in zip(recording.weights, layers, strict=True) if layer.points]
        points_W = np.concatenate([*pieces, np.zeros(0, np.float32)])
        written = (weights_BW, biases_BW)
        parallel(kernel.images, samples, recording.neurons_E, stack, front, *common, errors, points_W, *written)
        weights_W, biases_W = weights_BW.sum(0), biases_BW.sum(0)
        for k in range(front - 1, -1, -1):
            layer, at = layers[k], known["biases"][k] * LANES
            weights.append(layer.from_stretches(weights_W[known["weights"][k] : known["weights"][k + 1]]))
            biases.append(layer.bias_from_lanes(biases_W[at : at + layer.groups * LANES]))
    scale = np.float32(neuron.beta_bias)
    return [torch.from_numpy(g) for g in (*reversed(weights), *(bias * scale for bias in reversed(biases)))]


def _aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An uninitialised array that starts where a cache line does."""
    raw = np.empty(prod(shape) + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + prod(shape)].reshape(shape)


def _constants(neuron: Neuron) -> Constants:
    resets_current, subtracts = np.uint64(ALL if neuron.reset == "both" else 0), neuron.reset == "subtract"
    values = (neuron.alpha_v, neuron.alpha_i, neuron.beta_v, neuron.beta_i, neuron.threshold)
    alpha_v, alpha_i, beta_v, beta_i, threshold = map(np.float32, values)
    return Constants(alpha_v, alpha_i, beta_v, beta_i, threshold, resets_current, subtracts)


# --- the engine -------------------------------------------------------------------------------------------------------


class EventDriven:
    """Every layer that there is, float32, on the CPU: arithmetic only where a spike is."""

    preference = 10
    device = "cpu"

    def obstacle(self, network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        """Anything that the kernels do not know; see :class:`app.engines.engine.Engine`."""
        return self._network_obstacle(network) or (None if spikes is None else self._input_obstacle(spikes))

    def run(self, network: Network, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch; see :class:`app.engines.engine.Engine`."""
        if not isinstance(spikes, SpikeEvents):
            spikes = SpikeEvents.from_dense(spikes)
        weights, biases = [_heard_through(n) for n in network.spiking], [n.bias for n in network.spiking]
        plans = tuple(_plans(network))
        return NetworkOutput(
            *run_stack(spikes, plans, weights, biases, network.neuron, network.rule, stop_at_first_output)
        )

    def _network_obstacle(self, network: Network) -> str | None:
        if compiling.IS_OFF:
            return "NUMBA_DISABLE_JIT is set, which forbids to compile it"
        if type(network.neuron) is not Neuron:
            return f"its neuron {type(network.neuron).__name__} is unknown to it"
        shape = network.input_shape
        for layer in network.layers:
            fits, shape = _behind(layer, shape)
            if not fits:
                return f"it has {_described(layer)} behind {'x'.join(map(str, shape))}, which is not event-driven"
            if reason := changed(layer) or delays(layer):
                return f"its {_described(layer)} {reason}"
            if isinstance(layer, SpikingLayer) and layer.synapses.products == "bf16":
                return "its products are bf16 instead of float32"
        last = network.layers[-1] if network.layers else None
        if not (type(last) is SpikingLayer and type(last.synapses) is Dense):
            return "it does not end with a fully connected layer"
        for layer in network.spiking:
            for parameter in layer.parameters():
                if parameter.dtype != torch.float32:
                    return f"its weights are {str(parameter.dtype).removeprefix('torch.')} instead of float32"
                if not parameter.is_cpu:
                    return f"it is on {parameter.device}, not on the CPU"
        return compiled_rule.obstacle(network.rule)

    def _input_obstacle(self, spikes: SpikeEvents | Tensor) -> str | None:
        if spikes.device.type != "cpu":
            return f"its input is on {spikes.device}, not on the CPU"
        if isinstance(spikes, Tensor) and spikes.requires_grad:
            return "its input requires a gradient"
        if isinstance(spikes, Tensor) and not bool(((spikes == 0) | (spikes == 1)).all()):
            return "its input holds other values than 0 and 1"
        return None


def _behind(layer: Any, shape: Shape) -> tuple[bool, Shape]:
    """Whether a layer is one of those that the kernels know and fits what comes before; the shape behind it."""
    if type(layer) is Flatten:
        return True, (prod(shape),)
    if type(layer) in (AveragePool, MaxPool):
        fits = len(shape) == 3 and 1 <= layer.size <= min(shape[1:])
        return fits, (shape[0], shape[1] // layer.size, shape[2] // layer.size) if fits else shape
    if type(layer) is not SpikingLayer or layer.bias.shape != layer.weight.shape[:1]:
        return False, shape
    weight_shape, synapses = tuple(layer.weight.shape), layer.synapses
    if type(synapses) is Dense:
        fits = len(shape) == 1 and weight_shape[1:] == shape and layer.shape == weight_shape[:1]
    else:
        fits = type(synapses) is Conv and len(shape) == 3 and len(weight_shape) == 4
        fits = fits and weight_shape[1:] == (shape[0], weight_shape[3], weight_shape[3]) and weight_shape[3] % 2 == 1
        stride = synapses.stride if isinstance(synapses, Conv) else 1
        rows_and_columns = [(length - 1) // stride + 1 for length in shape[1:]] if fits else []
        fits = fits and layer.shape == (weight_shape[0], *rows_and_columns)
    return fits, layer.shape if fits else shape


def _plans(network: Network) -> Iterator[Plan]:
    """The spiking layers as the kernels' tables know them."""
    pools: list[tuple[bool, int]] = []
    for layer in network.layers:
        if isinstance(layer, AveragePool | MaxPool):
            pools.append((isinstance(layer, MaxPool), layer.size))
        elif isinstance(layer, SpikingLayer):
            stride = layer.synapses.stride if isinstance(layer.synapses, Conv) else 1
            loops = layer.recurrent_weight is not None
            yield Plan(tuple(pools), tuple(layer.weight.shape), stride, layer.shape, loops)
            pools = []


def _heard_through(layer: SpikingLayer) -> Tensor:
    """The weights of a layer, with those of its own spikes behind them; autograd takes their gradients apart."""
    if layer.recurrent_weight is None:
        return layer.weight
    return torch.cat([layer.weight, layer.recurrent_weight], 1)


def _described(layer: Any) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})" if isinstance(layer, torch.nn.Module) else repr(layer)


ENGINES.register("event_driven", "numba")(EventDriven())
