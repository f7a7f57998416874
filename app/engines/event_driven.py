"""The compiled, event-driven CPU engine: a whole stack of fully connected layers as one autograd function.

The compiled kernels pass spikes between layers as events and errors in factored form, so that no [T, B, N] tensor of a
hidden layer exists. Only the output layer's two channels are tensors; any loss may stand on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..activity import LayerActivity, SpikeWords
from ..autograd import first_derivative_only
from ..events import SpikeEvents
from ..kernels import backward as kernels
from ..kernels import compile as compiling
from ..kernels.forward import forward
from ..kernels.lanes import LANES
from ..kernels.layout import TILE, Constants, Record, Stack, pack
from ..kernels.memory import keep_freed_memory
from ..kernels.threads import parallel
from ..layers import Flatten, SpikingLayer
from ..layers.synapses import Dense
from ..neuron.lif import Neuron
from ..rules.rule import Rule
from . import compiled_rule
from .engine import ENGINES, NetworkOutput
from .inspect import changed

if TYPE_CHECKING:
    from ..network import Network

ALL = 2**LANES - 1
"""A set of all lanes."""
TASKS = 8
"""A layer of few blocks is cut into groups of samples until there are so many tasks."""


class Layout(NamedTuple):
    """Where the layers of a stack lie in the kernels' arrays; see :class:`app.kernels.layout.Stack`."""

    sizes: NDArray
    blocks: NDArray
    starts: NDArray
    first_neurons: list[int]


@cache
def _layout(sizes: tuple[int, ...]) -> Layout:
    layer_blocks = [-(-size // LANES) for size in sizes[1:]]
    weights = [blocks * inputs * LANES for blocks, inputs in zip(layer_blocks, sizes, strict=False)]
    first_neurons = np.cumsum([0, *sizes[1:]]).tolist()
    return Layout(np.array(sizes), np.cumsum([0, *layer_blocks]), np.cumsum([0, *weights]), first_neurons)


@dataclass(frozen=True)
class Recording:
    """One forward run: the input spikes, the layers and what they did."""

    neurons_E: NDArray
    weights: list[NDArray]
    layout: Layout
    stack: Stack
    record: Record

    def activities(self) -> list[LayerActivity]:
        """The activity of every layer."""
        first_N, first_P = self.layout.first_neurons, self.layout.blocks
        return [
            LayerActivity(
                torch.from_numpy(self.record.counts_BN[:, first_N[k] : first_N[k + 1]]),
                torch.from_numpy(self.record.totals_BLT[:, k]).t(),
                SpikeWords(self.record.words_BTP[:, :, first_P[k] : first_P[k + 1]], len(weight)),
            )
            for k, weight in enumerate(self.weights)
        ]


def run_stack(
    events: SpikeEvents,
    weights: list[Tensor],
    biases: list[Tensor],
    neuron: Neuron,
    rule: Rule,
    stop_at_first_output: bool = False,
) -> tuple[Tensor, Tensor, list[LayerActivity], Tensor]:
    """Run a batch through fully connected layers.

    Args:
        events: the input spikes.
        weights: one [N, M] per layer.
        biases: one [N] per layer.
        neuron: the constants of all neurons.
        rule: the learning rule that ``backward`` follows.
        stop_at_first_output: run each sample only to the step of its first output spike (no gradient).

    Returns:
        both channels of the output layer, [T, B, N], the activity of every layer, and the decision spikes [B, L] of
        every layer, all but the activity differentiable.
    """
    keep_freed_memory()
    recording, outputs = _forward(events, weights, biases, neuron, stop_at_first_output)
    if not stop_at_first_output:
        outputs = _Stack.apply(recording, outputs, neuron, rule, *weights, *biases)
    spikes_TBN, times_TBN, decision_BL = outputs
    return spikes_TBN, times_TBN, recording.activities(), decision_BL


class _Stack(torch.autograd.Function):
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
        given = [torch.zeros(s) if e is None else e for e, s in zip(errors, ctx.shapes, strict=True)]
        return None, None, None, None, *_gradients(ctx.recording, *given, ctx.neuron, ctx.rule)


# --- forward ----------------------------------------------------------------------------------------------------------


def _forward(
    events: SpikeEvents, weights: list[Tensor], biases: list[Tensor], neuron: Neuron, stop: bool
) -> tuple[Recording, tuple[Tensor, Tensor, Tensor]]:
    """Run all layers; returns the recording, both channels of the output layer and the decision spikes."""
    arrays = [weight.detach().contiguous().numpy() for weight in weights]
    layout = _layout((arrays[0].shape[1], *map(len, arrays)))
    stack = _stack(layout, arrays, [bias.detach().numpy() for bias in biases], neuron)
    steps, samples, outputs = events.time_steps, events.batch_size, len(weights[-1])
    events.check_offsets()
    record = _empty_record(layout, samples, steps)
    spikes_TBN, times_TBN = np.empty((2, steps, samples, outputs), np.float32)
    given = [t.contiguous().numpy() for t in (events.steps_E, events.neurons_E, events.offsets_B1)]
    limit = neuron.max_spikes or 0
    parallel(forward, samples, *given, stack, _constants(neuron), limit, stop, record, spikes_TBN, times_TBN)
    if not record.valid_B.all():
        events.check()
    written = tuple(map(torch.from_numpy, (spikes_TBN, times_TBN, record.decision_BL)))
    return Recording(given[1], arrays, layout, stack, record), written


def _stack(layout: Layout, weights: list[NDArray], biases: list[NDArray], neuron: Neuron) -> Stack:
    """The weights and biases in the kernels' layout."""
    packed, biases_PL = _aligned((layout.starts[-1],)), np.zeros((layout.blocks[-1], LANES), np.float32)
    for k, (weight_NM, bias_N) in enumerate(zip(weights, biases, strict=True)):
        block_PML = packed[layout.starts[k] : layout.starts[k + 1]].reshape(-1, weight_NM.shape[1], LANES)
        parallel(pack, len(block_PML), weight_NM, block_PML)
        biases_PL[layout.blocks[k] :].reshape(-1)[: len(bias_N)] = bias_N * np.float32(neuron.beta_bias)
    return Stack(layout.sizes, layout.blocks, layout.starts, packed, biases_PL)


def _empty_record(layout: Layout, samples: int, steps: int) -> Record:
    layers = len(layout.sizes) - 1
    return Record(
        starts_BT1=np.empty((samples, steps + 1), np.int64),
        words_BTP=np.empty((samples, steps, layout.blocks[-1]), np.uint64),
        totals_BLT=np.empty((samples, layers, steps), np.int32),
        counts_BN=np.empty((samples, layout.first_neurons[-1]), np.int32),
        until_B=np.empty(samples, np.int64),
        decision_BL=np.empty((samples, layers), np.float32),
        valid_B=np.empty(samples, np.bool_),
    )


# --- backward ---------------------------------------------------------------------------------------------------------


def _gradients(
    recording: Recording, error_TBN: Tensor, error_t_TBN: Tensor, cost_BL: Tensor, neuron: Neuron, rule: Rule
) -> list[Tensor]:
    """The gradients of all weights, then of all biases, from the errors of what ``run_stack`` returns."""
    stack, record = recording.stack, recording.record
    error, error_t = (e.contiguous().numpy() for e in (error_TBN, error_t_TBN))
    costs_LB = cost_BL.t().contiguous().numpy()
    samples, steps = record.words_BTP.shape[:2]
    live_B = np.full(samples, steps)
    if rule.zero_without_errors:
        kernels.live_steps(error, error_t, costs_LB, record.until_B, live_B)
    kernel, settings = compiled_rule.backward(rule), compiled_rule.settings(rule)
    nothing = np.empty((1, 0, 0, LANES), np.float32)
    upper = (nothing, nothing, np.empty((0, 0), np.float32))
    weights, biases = [], []
    for depth in range(len(recording.weights) - 1, -1, -1):
        neurons, inputs = recording.weights[depth].shape
        blocks = -(-neurons // LANES)
        shape = (samples, blocks, -(-steps // TILE) * TILE, LANES)
        own = (nothing, nothing) if depth == 0 else (_aligned(shape), _aligned(shape))
        groups = min(samples, -(-TASKS // blocks))
        gradient_GNM = np.empty((groups, neurons, inputs), np.float32)
        bias_gradient_GPL = np.empty((groups, blocks, LANES), np.float32)
        errors = kernels.Errors(live_B, costs_LB[depth], error, error_t, *upper)
        found = kernels.Gradients(*own, gradient_GNM, bias_gradient_GPL)
        layer = (groups, recording.neurons_E, stack, depth, _constants(neuron), *settings)
        parallel(kernel, blocks * groups, *layer, neuron.max_spikes or 0, record, errors, found)
        gradient_NM = gradient_GNM.sum(0) if groups > 1 else gradient_GNM[0]
        gradient_N = bias_gradient_GPL.sum(0).reshape(-1)[:neurons] * np.float32(neuron.beta_bias)
        weights.append(torch.from_numpy(gradient_NM))
        biases.append(torch.from_numpy(gradient_N))
        upper = (*own, recording.weights[depth])
    return [*reversed(weights), *reversed(biases)]


def _aligned(shape: tuple[int, ...]) -> NDArray:
    """An uninitialised array that starts where a cache line does."""
    raw = np.empty(prod(shape) + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + prod(shape)].reshape(shape)


def _constants(neuron: Neuron) -> Constants:
    values = (neuron.alpha_v, neuron.alpha_i, neuron.beta_v, neuron.beta_i, neuron.threshold)
    return Constants(
        *map(np.float32, values), np.uint64(ALL if neuron.reset == "both" else 0), neuron.reset == "subtract"
    )


# --- the engine -------------------------------------------------------------------------------------------------------


class EventDriven:
    """Fully connected layers, float32, on the CPU: arithmetic only where a spike is."""

    preference = 10
    device = "cpu"

    def obstacle(self, network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        """Anything that the kernels do not know; see :class:`app.engines.engine.Engine`."""
        return self._network_obstacle(network) or (None if spikes is None else self._input_obstacle(spikes))

    def run(self, network: Network, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch; see :class:`app.engines.engine.Engine`."""
        if not isinstance(spikes, SpikeEvents):
            spikes = SpikeEvents.from_dense(spikes)
        weights, biases = [n.weight for n in network.spiking], [n.bias for n in network.spiking]
        return NetworkOutput(*run_stack(spikes, weights, biases, network.neuron, network.rule, stop_at_first_output))

    def _network_obstacle(self, network: Network) -> str | None:
        if compiling.IS_OFF:
            return "NUMBA_DISABLE_JIT is set, which forbids to compile it"
        if type(network.neuron) is not Neuron:
            return f"its neuron {type(network.neuron).__name__} is unknown to it"
        inputs, dense = prod(network.input_shape), False
        for layer in network.layers:
            dense = type(layer) is SpikingLayer and type(layer.synapses) is Dense
            if not dense and type(layer) is not Flatten:
                return f"it has {_described(layer)}, and only fully connected layers are event-driven"
            if reason := changed(layer):
                return f"its {_described(layer)} {reason}"
            if dense:
                weight, bias = layer.weight, layer.bias
                if weight.shape != (len(weight), inputs) or bias.shape != (len(weight),):
                    return f"its layer with weights {tuple(weight.shape)} does not fit {inputs} inputs"
                for one in (weight, bias):
                    if one.dtype != torch.float32:
                        return f"its weights are {str(one.dtype).removeprefix('torch.')} instead of float32"
                    if not one.is_cpu:
                        return f"it is on {one.device}, not on the CPU"
                inputs = len(weight)
        if not len(network.layers) or not dense:
            return "it does not end with a fully connected layer"
        return compiled_rule.obstacle(network.rule)

    def _input_obstacle(self, spikes: SpikeEvents | Tensor) -> str | None:
        if spikes.device.type != "cpu":
            return f"its input is on {spikes.device}, not on the CPU"
        if isinstance(spikes, Tensor) and spikes.requires_grad:
            return "its input requires a gradient"
        if isinstance(spikes, Tensor) and not bool(((spikes == 0) | (spikes == 1)).all()):
            return "its input holds other values than 0 and 1"
        return None


def _described(layer: Any) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})" if isinstance(layer, torch.nn.Module) else repr(layer)


ENGINES.register("event_driven", "numba")(EventDriven())
