"""What a device would have to do for an answer: synaptic operations from real spikes and fan-out, memory, energy.

The definitions are those of NeuroBench (Yik et al. 2025, Nat. Commun. 16:1545): a synaptic operation is a non-zero
activation that meets a non-zero weight, biases not counted. It is an accumulation (AC) where activations are spikes,
and a multiplication with accumulation (MAC) where average pooling has made other numbers of them. In

    operations = Σ_t Σ_m [x_m[t] ≠ 0] F_m,        F_m = Σ_n [w_nm ≠ 0],

F_m is the fan-out of neuron m; that of a convolution is smaller at the borders and depends on the stride. A layer that
hears itself does so one step later, and what it would hear after the window or the decision is not counted. Delays
change no count: an operation belongs to the step of the spike that causes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from .activity import LayerActivity
from .events import SpikeEvents
from .layers import Flatten, MaxPool, SpikingLayer
from .network import Network, NetworkOutput
from .readout import decision_steps

AT_ONCE = 2**24
"""Numbers that are unpacked at once."""


@dataclass(frozen=True)
class Energy:
    """The energy of an operation, by default of 32-bit floating point numbers in 45 nm at 0.9 V (Horowitz 2014, ISSCC).

    An addition takes 0.9 pJ, a multiplication 3.7 pJ. Fetching weights from a memory, which costs more than either, and
    updating the states of neurons are not in it.

    Args:
        mac_pj: picojoules of a multiplication with accumulation.
        ac_pj: picojoules of an accumulation.
    """

    mac_pj: float = 4.6
    ac_pj: float = 0.9

    def nanojoules(self, operations: float, macs: float) -> float:
        """What so many synaptic operations take, of which ``macs`` are MACs and the others ACs."""
        return (self.mac_pj * macs + self.ac_pj * (operations - macs)) / 1000


class Connection(NamedTuple):
    """The synapses of a spiking layer and what stands between them and the spikes before.

    Args:
        layer: the layer that they lead to.
        between: pooling and reshaping.
        shape: of the activations that the synapses hear.
    """

    layer: SpikingLayer
    between: list[nn.Module]
    shape: tuple[int, ...]

    @property
    def multiplies(self) -> bool:
        """Whether the synapses hear other numbers than 0 and 1."""
        return not all(isinstance(module, Flatten | MaxPool) for module in self.between)

    @property
    def moves_only(self) -> bool:
        """Whether the synapses hear the very spikes that were fired."""
        return all(isinstance(module, Flatten) for module in self.between)

    def hear(self, spikes_TBM: Tensor) -> Tensor:
        """What the synapses hear of spikes."""
        channels = (spikes_TBM, spikes_TBM)
        for module in self.between:
            channels = module(channels)
        return channels[0]

    def fan_out_M(self) -> Tensor:
        """F, the non-zero weights behind each activation, int64, activations flattened."""
        present = (self.layer.weight != 0).to(self.layer.weight.dtype)
        ones, like = present.new_ones(1, 1, *self.layer.shape), present.new_zeros(1, 1, *self.shape)
        return self.layer.synapses.pull_back(ones, present, like).flatten().round().long()


@torch.no_grad()
def connections(network: Network) -> Iterator[Connection]:
    """The synapses of all spiking layers, first to last."""
    parameter = next(network.parameters())
    below = parameter.new_zeros(1, 1, *network.input_shape)
    between: list[nn.Module] = []
    for module in network.layers:
        if isinstance(module, SpikingLayer):
            connection = Connection(module, between, ())
            yield connection._replace(shape=tuple(connection.hear(below).shape[2:]))
            below, between = parameter.new_zeros(1, 1, *module.shape), []
        else:
            between.append(module)


class Size(NamedTuple):
    """What does not depend on the input.

    Args:
        parameters: weights and biases.
        footprint_bytes: of parameters and buffers.
        connection_sparsity: share of the weights that are zero.
        dense_synaptic_operations_per_step: all activations meeting all weights.
        neurons: of all spiking layers.
    """

    parameters: int
    footprint_bytes: int
    connection_sparsity: float
    dense_synaptic_operations_per_step: int
    neurons: int


@torch.no_grad()
def size(network: Network) -> Size:
    """The static costs of a network."""
    weights = [layer.weight for layer in network.spiking]
    own = [layer.recurrent_weight for layer in network.spiking if layer.recurrent_weight is not None]
    weights += own
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    held = [*network.parameters(), *network.buffers()]
    full = [c._replace(layer=_filled(c.layer)).fan_out_M().sum() for c in connections(network)]
    return Size(
        sum(parameter.numel() for parameter in network.parameters()),
        sum(tensor.numel() * tensor.element_size() for tensor in held),
        zeros / sum(weight.numel() for weight in weights),
        sum(map(int, full)) + sum(weight.numel() for weight in own),
        sum(prod(layer.shape) for layer in network.spiking),
    )


def _filled(layer: SpikingLayer) -> SpikingLayer:
    """The same synapses, none of them zero."""
    like = SpikingLayer(layer.synapses, tuple(layer.weight.shape), layer.shape).to(layer.weight)
    like.weight.fill_(1)
    return like


class OperationMetrics(Metric):
    """Synaptic operations of a split, as sums over samples.

    ``compute`` returns means per sample, each also with ``decision_`` before it: up to and including the step of the
    sample's first output spike (in the whole window where no output neuron fires):

    - ``synaptic_operations``, and ``input_synaptic_operations``: those of them that input spikes cause in the first
      layer; ``layerL/synaptic_operations``: those that arrive at layer L;
    - ``macs``: those of them that are MACs, not ACs;
    - ``energy_nj``: nanojoules of these operations, see :class:`Energy`;
    - ``neuron_updates``: steps times neurons, which is what a device does that updates every neuron in every step;
    - ``activation_sparsity``: share of these (step, neuron) pairs without a spike; input neurons are not counted.

    Args:
        layers: number of spiking layers.
        energy: of an operation.
    """

    full_state_update = False
    samples: Tensor
    operations_L: Tensor
    decision_operations_L: Tensor
    input_operations: Tensor
    decision_input_operations: Tensor
    macs: Tensor
    decision_macs: Tensor
    spikes: Tensor
    decision_spikes: Tensor
    places: Tensor
    decision_places: Tensor

    def __init__(self, layers: int, energy: Energy | None = None) -> None:
        super().__init__()
        self.layers, self.energy = layers, energy or Energy()
        for name in ("operations_L", "decision_operations_L"):
            self.add_state(name, torch.zeros(layers, dtype=torch.int64), "sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), "sum")
        for name in ("input_operations", "macs", "spikes", "places"):
            for until in ("", "decision_"):
                self.add_state(f"{until}{name}", torch.zeros((), dtype=torch.int64), "sum")

    @torch.no_grad()
    def update(self, network: Network, events: SpikeEvents, output: NetworkOutput) -> None:
        """Add samples.

        Args:
            network: as it was when it made the output.
            events: its input.
            output: its output, with the spikes of all layers.
        """
        step_B = decision_steps(output.spikes_TBN)
        sources: list[SpikeEvents | LayerActivity] = [events, *output.layers[:-1]]
        for k, (connection, source) in enumerate(zip(connections(network), sources, strict=True)):
            whole, until = _operations(connection, source, step_B)
            own = connection.layer.recurrent_weight
            again = (0, 0) if own is None else _heard_again(own, output.layers[k], step_B)
            self.operations_L[k] += whole + again[0]
            self.decision_operations_L[k] += until + again[1]
            self.input_operations += whole * (k == 0)
            self.decision_input_operations += until * (k == 0)
            if connection.multiplies:
                self.macs += whole
                self.decision_macs += until
        neurons = sum(prod(layer.shape) for layer in network.spiking)
        self.samples += len(step_B)
        self.places += neurons * events.time_steps * len(step_B)
        self.decision_places += neurons * (step_B.clamp(max=events.time_steps - 1) + 1).sum()
        for activity in output.layers:
            self.spikes += activity.totals_TB.sum()
            self.decision_spikes += activity.count_until(step_B).sum()

    def compute(self) -> dict[str, Tensor]:
        """All numbers, see the class; empty when no sample was seen."""
        if not self.samples:
            return {}
        n, values = self.samples.double(), {}
        for until in ("", "decision_"):
            arriving_L = getattr(self, f"{until}operations_L") / n
            macs = getattr(self, f"{until}macs") / n
            values[f"{until}synaptic_operations"] = arriving_L.sum()
            values[f"{until}input_synaptic_operations"] = getattr(self, f"{until}input_operations") / n
            values[f"{until}macs"] = macs
            values[f"{until}energy_nj"] = self.energy.nanojoules(arriving_L.sum(), macs)
            places = getattr(self, f"{until}places").double()
            values[f"{until}neuron_updates"] = places / n
            values[f"{until}activation_sparsity"] = 1 - getattr(self, f"{until}spikes") / places
            for k, arriving in enumerate(arriving_L, 1):
                values[f"layer{k}/{until}synaptic_operations"] = arriving
        return values


def _operations(connection: Connection, source: SpikeEvents | LayerActivity, step_B: Tensor) -> tuple[Tensor, Tensor]:
    """Operations that spikes cause in all samples, in the whole window and up to a step of each sample."""
    fan_out_M = connection.fan_out_M()
    if connection.moves_only and isinstance(source, SpikeEvents):
        per_event_E = fan_out_M[source.neurons_E.long()]
        return per_event_E.sum(), (per_event_E * (source.steps_E <= step_B[source.samples_E()])).sum()
    if connection.moves_only and isinstance(source, LayerActivity) and bool((fan_out_M == fan_out_M[0]).all()):
        return source.totals_TB.sum() * fan_out_M[0], source.count_until(step_B).sum() * fan_out_M[0]
    whole = until = fan_out_M.new_zeros(())
    for samples, spikes_TBM in _in_parts(source):
        heard_TBM = connection.hear(spikes_TBM).flatten(2) != 0
        caused_TB = heard_TBM.double() @ fan_out_M.double()
        steps_T1 = torch.arange(len(caused_TB), device=step_B.device)[:, None]
        whole = whole + caused_TB.sum().long()
        until = until + (caused_TB * (steps_T1 <= step_B[samples])).sum().long()
    return whole, until


def _heard_again(weight_NN: Tensor, activity: LayerActivity, step_B: Tensor) -> tuple[Tensor, Tensor]:
    """Operations of a layer's spikes in the layer itself, one step later."""
    fan_out_N, steps = (weight_NN != 0).sum(0), len(activity.totals_TB)
    last_B = step_B.clamp(max=steps - 1)
    whole = until = fan_out_N.new_zeros(())
    for samples, spikes_TBN in _in_parts(activity):
        caused_TB = spikes_TBN.flatten(2).double() @ fan_out_N.double()
        heard_T1 = torch.arange(1, steps + 1, device=step_B.device)[:, None]
        whole = whole + caused_TB[: steps - 1].sum().long()
        until = until + (caused_TB * (heard_T1 <= last_B[samples])).sum().long()
    return whole, until


def _in_parts(source: SpikeEvents | LayerActivity) -> Iterator[tuple[slice, Tensor]]:
    """Dense spikes of a few samples at a time."""
    if isinstance(source, SpikeEvents):
        samples, each = source.batch_size, source.time_steps * prod(source.shape)
    else:
        samples, each = len(source.counts_BN), len(source.totals_TB) * source.counts_BN.shape[1]
    step = max(1, AT_ONCE // max(each, 1))
    for start in range(0, samples, step):
        part = slice(start, min(start + step, samples))
        yield part, source.part(part).to_dense() if isinstance(source, SpikeEvents) else source.dense_spikes(part)
