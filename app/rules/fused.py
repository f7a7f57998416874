"""A whole stack of fully connected layers as one autograd function: the event-driven counterpart of ``spiking``.

The compiled kernels pass spikes between layers as events and errors in factored form, so that no [T, B, N] tensor of a
hidden layer exists. Only the output layer's two channels are tensors; any loss may stand on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.activity import LayerActivity
from app.events import SpikeEvents
from app.kernels import numba_cpu as kernels
from app.kernels.numba_memory import keep_freed_memory
from app.kernels.numba_threads import parallel
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential
from app.rules.rule import Rule
from app.rules.timing import MIN_SLOPE

LANES = kernels.LANES
TASKS = 8
"""A layer of few blocks is cut into groups of samples until there are so many tasks."""
CHUNK_STEPS = 16
"""With early stop, how many steps all layers run before finished samples are left out."""


class Spikes(NamedTuple):
    """Spikes as the kernels read them: step t of sample b owns the events ``starts_BT1[b, t]:starts_BT1[b, t + 1]``."""

    starts_BT1: NDArray
    neurons_E: NDArray


@dataclass(frozen=True)
class Layer:
    """One layer in one batch; for the suffixes see ``numba_cpu``."""

    weight_NM: NDArray
    packed_PML: NDArray
    bias_PL: NDArray
    states_BP4L: NDArray
    words_BTP: NDArray
    totals_BT: NDArray
    counts_BN: NDArray


@dataclass
class Recording:
    """One forward run: the layers, the input spikes of each and the spikes that came out of the last one."""

    layers: list[Layer]
    spikes: list[Spikes]
    activities: list[LayerActivity]


def run_stack(
    events: SpikeEvents,
    weights: list[Tensor],
    biases: list[Tensor],
    neuron: Neuron,
    rule: Rule,
    stop_at_first_output: bool = False,
) -> tuple[Tensor, Tensor, list[LayerActivity]]:
    """Run a batch through fully connected layers.

    Args:
        events: the input spikes.
        weights: one [N, M] per layer.
        biases: one [N] per layer.
        neuron: the constants of all neurons.
        rule: the learning rule that ``backward`` follows.
        stop_at_first_output: run each sample only to the step of its first output spike (no gradient).

    Returns:
        both channels of the output layer, [T, B, N], differentiable, and the activity of every layer.
    """
    keep_freed_memory()
    with torch.no_grad():
        recording = _record(events, weights, biases, neuron, CHUNK_STEPS if stop_at_first_output else None)
        spikes_TBN, times_TBN = _channels(recording)
    if not stop_at_first_output:
        spikes_TBN, times_TBN = _Stack.apply(recording, spikes_TBN, times_TBN, neuron, rule, *weights, *biases)
    return spikes_TBN, times_TBN, recording.activities


class _Stack(torch.autograd.Function):
    """Ties the channels of a forward run to the gradients of its parameters."""

    @staticmethod
    def forward(
        ctx: Any, recording: Recording, spikes: Tensor, times: Tensor, neuron: Neuron, rule: Rule, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*parameters)
        ctx.recording, ctx.neuron, ctx.rule, ctx.shape = recording, neuron, rule, spikes.shape
        return spikes.view_as(spikes), times.view_as(times)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error_TBN: Tensor | None, error_t_TBN: Tensor | None) -> tuple[Tensor | None, ...]:
        assert ctx.saved_tensors, "saved so that autograd notices a parameter that was changed in place"
        errors = [torch.zeros(ctx.shape) if e is None else e for e in (error_TBN, error_t_TBN)]
        gradients = _gradients(ctx.recording, *errors, ctx.neuron, ctx.rule)
        return None, None, None, None, None, *gradients


# --- forward ----------------------------------------------------------------------------------------------------------


def _record(
    events: SpikeEvents, weights: list[Tensor], biases: list[Tensor], neuron: Neuron, chunk_steps: int | None
) -> Recording:
    """Run all layers, window by window; with ``chunk_steps``, only until each sample's first output spike."""
    steps, samples = events.time_steps, events.batch_size
    layers = [_layer(w, b, neuron, samples, steps) for w, b in zip(weights, biases, strict=True)]
    running_B = np.ones(samples, np.bool_)
    first_input = _index(events, weights[0].shape[1])
    for first in range(0, steps, chunk_steps or steps):
        last = min(first + (chunk_steps or steps), steps)
        spikes, heard = [first_input], []
        for layer in layers:
            _forward(layer, spikes[-1], neuron, running_B, first, last)
            steps_E, *listed = _list(layer, first, last)
            heard.append(steps_E)
            spikes.append(Spikes(*listed))
        running_B &= layers[-1].totals_BT[:, first:last].sum(1) == 0
        if not running_B.any():
            break
    if chunk_steps:
        heard, spikes[1:] = _cut(layers, steps)
    activities = [_activity(*parts, steps) for parts in zip(layers, heard, spikes[1:], strict=True)]
    return Recording(layers, spikes, activities)


def _layer(weight: Tensor, bias: Tensor, neuron: Neuron, samples: int, steps: int) -> Layer:
    """The weights in the kernels' layout, and empty states and spikes."""
    neurons, inputs = weight.shape
    blocks = -(-neurons // LANES)
    packed_PML = _aligned((blocks, inputs, LANES))
    weight_NM = weight.detach().contiguous().numpy()
    parallel(kernels.pack, blocks, weight_NM, packed_PML)
    bias_PL = np.zeros((blocks, LANES), np.float32)
    bias_PL.reshape(-1)[:neurons] = (neuron.beta_bias * bias.detach()).numpy()
    states_BP4L = np.zeros((samples, blocks, 4, LANES), np.float32)
    states_BP4L[:, :, 2] = neuron.threshold
    states_BP4L[:, :, 3] = neuron.max_spikes or 0
    words_BTP = np.zeros((samples, steps, blocks), np.uint64)
    totals_BT = np.zeros((samples, steps), np.int32)
    return Layer(
        weight_NM, packed_PML, bias_PL, states_BP4L, words_BTP, totals_BT, np.zeros((samples, neurons), np.int32)
    )


def _index(events: SpikeEvents, inputs: int) -> Spikes:
    """The input events with the place where each step begins."""
    starts_BT1 = np.empty((events.batch_size, events.time_steps + 1), np.int64)
    arrays = [t.contiguous().numpy() for t in (events.steps_E, events.neurons_E, events.offsets_B1)]
    if not kernels.index_events(*arrays, inputs, starts_BT1):
        raise ValueError(
            f"SpikeEvents must be sorted by step within each sample, with steps below {events.time_steps} and neurons "
            f"below {inputs}; build them with SpikeEvents.from_dense to see what is expected"
        )
    return Spikes(starts_BT1, arrays[1])


def _forward(layer: Layer, spikes: Spikes, neuron: Neuron, running_B: NDArray, first: int, last: int) -> None:
    """Run one layer from one step to another."""
    samples, _, blocks = layer.words_BTP.shape
    parallel(
        kernels.forward,
        samples * blocks,
        first,
        last,
        *spikes,
        layer.packed_PML,
        layer.bias_PL,
        _constants(neuron),
        neuron.max_spikes is not None,
        running_B,
        layer.states_BP4L,
        layer.words_BTP,
    )


def _list(layer: Layer, first: int, last: int) -> tuple[NDArray, NDArray, NDArray]:
    """The layer's spikes between two steps as events (steps, starts, neurons); fills in its totals and counts."""
    samples, steps, _ = layer.words_BTP.shape
    totals_BT = layer.totals_BT
    parallel(kernels.count_words, samples, layer.words_BTP, first, last, totals_BT)
    ends_BT = totals_BT[:, first:last].cumsum(dtype=np.int64).reshape(samples, -1)
    starts_BT1 = np.zeros((samples, steps + 1), np.int64)
    starts_BT1[:, first + 1 : last + 1] = ends_BT
    starts_BT1[1:, first] = ends_BT[:-1, -1]
    steps_E, neurons_E = np.empty((2, ends_BT[-1, -1]), np.int32)
    parallel(kernels.list_words, samples, layer.words_BTP, first, last, starts_BT1, steps_E, neurons_E, layer.counts_BN)
    return steps_E, starts_BT1, neurons_E


def _cut(layers: list[Layer], steps: int) -> tuple[list[NDArray], list[Spikes]]:
    """Leave out every spike behind the step of the sample's first output spike, and list the others."""
    fired_BT = layers[-1].totals_BT > 0
    behind_BT = fired_BT.cumsum(1) > fired_BT
    heard, spikes = [], []
    for layer in layers:
        layer.words_BTP[behind_BT] = 0
        layer.counts_BN[:] = 0
        steps_E, *listed = _list(layer, 0, steps)
        heard.append(steps_E)
        spikes.append(Spikes(*listed))
    return heard, spikes


def _activity(layer: Layer, steps_E: NDArray, spikes: Spikes, steps: int) -> LayerActivity:
    offsets_B1 = np.append(spikes.starts_BT1[:, 0], len(steps_E))
    arrays = (torch.from_numpy(a) for a in (steps_E, spikes.neurons_E, offsets_B1))
    events = SpikeEvents(*arrays, steps, (len(layer.weight_NM),))
    return LayerActivity(torch.from_numpy(layer.counts_BN), torch.from_numpy(layer.totals_BT).t(), events)


def _channels(recording: Recording) -> tuple[Tensor, Tensor]:
    """Both channels of the output layer, [T, B, N]."""
    samples, steps = recording.layers[-1].totals_BT.shape
    channels = np.empty((2, steps, samples, len(recording.layers[-1].weight_NM)), np.float32)
    parallel(kernels.write_channels, samples, *recording.spikes[-1], *channels)
    return torch.from_numpy(channels[0]), torch.from_numpy(channels[1])


# --- backward ---------------------------------------------------------------------------------------------------------


def _gradients(
    recording: Recording, error_TBN: Tensor, error_t_TBN: Tensor, neuron: Neuron, rule: Rule
) -> list[Tensor]:
    """The gradients of all weights, then of all biases, from the errors of the output layer's two channels."""
    error_BTN, error_t_BTN = (np.ascontiguousarray(e.numpy().swapaxes(0, 1)) for e in (error_TBN, error_t_TBN))
    live_B = np.empty(len(error_BTN), np.int64)
    kernels.live_steps(error_BTN, error_t_BTN, live_B)
    nothing = np.empty((1, 0, 0, LANES), np.float32)
    upper = (nothing, nothing, np.empty((0, 0), np.float32), nothing[0])
    weights, biases = [], []
    for depth in range(len(recording.layers) - 1, -1, -1):
        layer, top = recording.layers[depth], depth == len(recording.layers) - 1
        samples, steps, blocks = layer.words_BTP.shape
        shape = (samples, blocks, -(-steps // kernels.TILE) * kernels.TILE, LANES)
        own = (nothing, nothing) if depth == 0 else (_aligned(shape), _aligned(shape))
        groups = min(samples, -(-TASKS // blocks))
        gradient_GNM = np.empty((groups, *layer.weight_NM.shape), np.float32)
        bias_gradient = np.empty((groups, blocks, LANES), np.float32)
        parallel(
            kernels.backward,
            blocks * groups,
            groups,
            *recording.spikes[depth],
            layer.packed_PML,
            layer.bias_PL,
            _constants(neuron),
            _rule_constants(rule),
            neuron.max_spikes or 0,
            layer.words_BTP,
            live_B,
            top,
            error_BTN,
            error_t_BTN,
            *upper,
            depth == 0,
            *own,
            gradient_GNM,
            bias_gradient,
        )
        gradient_NM = gradient_GNM.sum(0) if groups > 1 else gradient_GNM[0]
        gradient_N = bias_gradient.sum(0).reshape(-1)[: len(gradient_NM)] * np.float32(neuron.beta_bias)
        weights.append(torch.from_numpy(gradient_NM))
        biases.append(torch.from_numpy(gradient_N))
        upper = (*own, layer.weight_NM, layer.packed_PML)
    return [*reversed(weights), *reversed(biases)]


def _aligned(shape: tuple[int, ...]) -> NDArray:
    """An uninitialised array that starts where a cache line does."""
    raw = np.empty(prod(shape) + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + prod(shape)].reshape(shape)


def _constants(neuron: Neuron) -> kernels.Constants:
    values = (neuron.alpha_v, neuron.alpha_i, neuron.beta_v, neuron.beta_i, neuron.threshold)
    return kernels.Constants(*map(np.float32, values))


def _rule_constants(rule: Rule) -> kernels.RuleConstants:
    surrogate = rule.surrogate
    if isinstance(surrogate, Exponential):
        shape = (surrogate.alpha, surrogate.beta, inf)  # β_σ = 0 is a rectangle without end
    else:
        shape = (1 / surrogate.width, 0, surrogate.width / 2)
    flags = (rule.variant == "rnn", rule.variant == "slayer")
    return kernels.RuleConstants(*map(np.float32, (rule.lambda_act, rule.lambda_tim, *shape, MIN_SLOPE, *flags)))
