"""A whole stack of fully connected layers as one autograd function: the event-driven counterpart of ``spiking``.

The compiled kernels pass spikes between layers as events and errors in factored form, so that no [T, B, N] tensor of a
hidden layer exists. Only the output layer's two channels are tensors; any loss may stand on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.activity import LayerActivity
from app.errors import UserError
from app.events import SpikeEvents
from app.kernels import numba_cpu as kernels
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
    """Spikes as the kernels read them: the events of step t of sample b are ``starts_BT1[b, t]:starts_BT1[b, t + 1]``."""

    starts_BT1: Tensor
    neurons_E: Tensor


@dataclass(frozen=True)
class Layer:
    """What the kernels know of one layer in one batch; for the suffixes see ``numba_cpu``."""

    weight_NM: Tensor
    packed_PML: Tensor
    bias_PL: Tensor
    words_BTP: Tensor
    states_BP4L: Tensor

    @property
    def neurons(self) -> int:
        """N."""
        return len(self.weight_NM)


@dataclass
class Recording:
    """One forward run: the layers, the input spikes of each, and what they did."""

    layers: list[Layer]
    inputs: list[Spikes]
    activities: list[LayerActivity]
    spikes_TBN: Tensor
    times_TBN: Tensor


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
        stop_at_first_output: leave out all spikes behind the step of a sample's first output spike.

    Returns:
        both channels of the output layer, [T, B, N], differentiable, and the activity of every layer.
    """
    with torch.no_grad():
        recording = _record(events, weights, biases, neuron, stop_at_first_output)
    spikes, times = _Stack.apply(recording, neuron, rule, *weights, *biases)
    return spikes, times, recording.activities


class _Stack(torch.autograd.Function):
    """Ties a recorded forward run to its gradients."""

    @staticmethod
    def forward(
        ctx: Any, recording: Recording, neuron: Neuron, rule: Rule, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*parameters)
        ctx.recording, ctx.neuron, ctx.rule = recording, neuron, rule
        return recording.spikes_TBN, recording.times_TBN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error_TBN: Tensor | None, error_t_TBN: Tensor | None) -> tuple[Tensor | None, ...]:
        assert ctx.saved_tensors, "the parameters are only kept so that autograd notices a change in place"
        weights, biases = _gradients(ctx.recording, error_TBN, error_t_TBN, ctx.neuron, ctx.rule)
        return None, None, None, *weights, *biases


# --- forward ----------------------------------------------------------------------------------------------------------


def _record(
    events: SpikeEvents, weights: list[Tensor], biases: list[Tensor], neuron: Neuron, stop_at_first_output: bool
) -> Recording:
    steps, samples = events.time_steps, events.batch_size
    layers = [_layer(w, b, neuron, steps, samples) for w, b in zip(weights, biases, strict=True)]
    running_B = torch.ones(samples, dtype=torch.bool)
    chunk = CHUNK_STEPS if stop_at_first_output else steps
    inputs = [_index(events, weights[0].shape[1])]
    inputs += [Spikes(torch.zeros(samples, steps + 1, dtype=torch.int64), torch.empty(0)) for _ in layers[1:]]
    for layer, spikes in zip(layers, inputs): pass
    raise NotImplementedError
