"""Training steps to compare: a workload, a rule and an engine become one function that does a whole step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from app.events import SpikeEvents
from app.losses.count import count_loss
from app.losses.latency import latency_loss
from app.losses.targets import target_counts
from app.network import Network
from app.neuron.lif import Neuron, centre_bias
from app.rules import Rule, activation, antlr, timing
from benchmarks.per_step_loop import autograd_loop, backward_loop, forward_loop, hearings

Step = Callable[[], None]


class Steps(NamedTuple):
    """A whole training step, and the forward pass alone, without gradients."""

    train: Step
    infer: Step


BATCH = 16
ALPHA = 0.99
RULES: dict[str, Rule] = {"activation": activation(), "timing": timing(), "antlr": antlr()}


@dataclass(frozen=True)
class Workload:
    """A network and synthetic input with the statistics of a data set, batch 16.

    Args:
        network: as in the configuration.
        time_steps: T.
        events_per_sample: None for latency coding (a fifth of the inputs fires once, within 25 steps).
    """

    network: tuple[str, ...]
    time_steps: int
    events_per_sample: int | None = None

    def neuron(self) -> Neuron:
        """α_V = α_I = 0.99, as in the paper's classification tasks."""
        return Neuron.auto(ALPHA, ALPHA, self.time_steps)

    def build(self, rule: str, engine: str) -> Network:
        """The same initial network every time."""
        torch.manual_seed(0)
        bias = 0.0 if self.events_per_sample else centre_bias(self.neuron(), self.time_steps)
        return Network(list(self.network), self.neuron(), RULES[rule], bias, engine)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the network."""
        return tuple(map(int, self.network[0].split("x")))

    @property
    def convolves(self) -> bool:
        """Whether it has more than fully connected layers, which the rivals' rows have not."""
        return len(self.input_shape) > 1

    def tiny(self) -> Workload:
        """A small network of the same kinds of layers, to compile what has to be compiled."""
        network = ("1x6x6", "conv3c3", "apool2", "flatten", "fc10") if self.convolves else ("20", "fc30", "fc10")
        return Workload(network, 10, 50)

    def batch(self) -> tuple[SpikeEvents, Tensor]:
        """Input events and labels, the same every time."""
        generator = torch.Generator().manual_seed(1)
        inputs = prod(self.input_shape)
        spikes = torch.zeros(self.time_steps, BATCH, inputs)
        if self.events_per_sample:
            rate = self.events_per_sample / (inputs * self.time_steps)
            spikes = (torch.rand(spikes.shape, generator=generator) < rate).float()
        else:
            on = (torch.rand(1, BATCH, inputs, generator=generator) < 0.2).float()
            spikes.scatter_(0, torch.randint(0, 25, (1, BATCH, inputs), generator=generator), on)
        return SpikeEvents.from_dense(spikes), torch.randint(0, 10, (BATCH,), generator=generator)


WORKLOADS = {
    "mnist T=100": Workload(("784", "fc800", "fc10"), 100),
    "mnist T=300": Workload(("784", "fc800", "fc10"), 300),
    "mnist T=1000": Workload(("784", "fc800", "fc10"), 1000),
    "nmnist T=300": Workload(("2312", "fc800", "fc10"), 300, events_per_sample=4000),
    "dense T=100": Workload(("784", "fc800", "fc10"), 100, events_per_sample=39_200),
    "deep T=300": Workload(("784", "fc400", "fc400", "fc400", "fc400", "fc10"), 300),
    "crowd T=300": Workload(("784", "fc800", "fc800", "fc10"), 300, events_per_sample=11_760),
    "mnist conv": Workload(("1x28x28", "conv15c5", "apool2", "conv40c5", "apool2", "flatten", "fc300", "fc10"), 100),
    "nmnist pool": Workload(("2x34x34", "conv12c5", "mpool2", "flatten", "fc10"), 300, events_per_sample=4000),
    "nmnist conv": Workload(
        ("2x34x34", "conv12c5", "apool2", "conv64c5", "apool2", "flatten", "fc10"), 300, events_per_sample=4000
    ),
}


def engines(rule: str, convolves: bool = False) -> dict[str, Callable[[Workload, str], Steps]]:
    """Every engine that can train with the rule on this machine; rivals only without convolution."""
    found = {"event_driven": _network_step, "layerwise": _network_step, "per_step_loop": _loop_step}
    if rule == "activation" and not convolves:
        frameworks = {"snntorch": _snntorch_step, "spikingjelly": _spikingjelly_step}
        found |= {name: step for name, step in frameworks.items() if find_spec(name)}
    return {name: _bind(step, name) for name, step in found.items()}


def _bind(step: Callable[[Workload, str, str], Steps], engine: str) -> Callable[[Workload, str], Steps]:
    return lambda workload, rule: step(workload, rule, engine)


def loss_of(rule: str, spikes_TBN: Tensor, times_TBN: Tensor, label_B: Tensor) -> Tensor:
    """The spike-count loss for the activation-based rule, the latency loss for the others."""
    if rule == "activation":
        return count_loss(spikes_TBN, target_counts(label_B, spikes_TBN.shape[2], 1, 0))
    return latency_loss(spikes_TBN, times_TBN, label_B)


def _stepper(parameters: list[Tensor], gradients: Step, forward: Callable[[], object]) -> Steps:
    """New gradients, then the optimiser (the same fused Adam for every engine); and the forward pass alone."""
    optimizer = torch.optim.Adam(parameters, lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        gradients()
        optimizer.step()

    @torch.no_grad()
    def infer() -> None:
        forward()

    return Steps(step, infer)


def _network_step(workload: Workload, rule: str, engine: str) -> Steps:
    network = workload.build(rule, engine)
    events, label_B = workload.batch()

    def gradients() -> None:
        output = network(events)
        loss_of(rule, output.spikes_TBN, output.times_TBN, label_B).backward()

    return _stepper(list(network.parameters()), gradients, lambda: network(events))


def _loop_step(workload: Workload, rule: str, engine: str) -> Steps:
    network = workload.build(rule, "layerwise")
    weights, biases = [n.weight for n in network.spiking], [n.bias for n in network.spiking]
    events, label_B = workload.batch()
    neuron, hears = network.neuron, hearings(network.layers)
    spikes_TBM = events.to_dense().unflatten(2, workload.input_shape)

    def broadcast() -> list[Tensor]:
        return [bias.view(-1, *[1] * (weight.dim() - 2)) for weight, bias in zip(weights, biases, strict=True)]

    def by_autograd() -> None:
        output = autograd_loop(spikes_TBM, hears, weights, broadcast(), neuron)
        loss_of(rule, output, output, label_B).backward()

    def by_hand() -> None:
        shaped = broadcast()
        trains, potentials = forward_loop(spikes_TBM, hears, weights, shaped, neuron)
        output = trains[-1].clone().requires_grad_()
        times = (trains[-1] * torch.arange(len(output))[:, None, None]).requires_grad_()
        error, error_t = torch.autograd.grad(loss_of(rule, output, times, label_B), (output, times))
        lambda_act = RULES[rule].lambda_act if rule == "antlr" else 0.0
        with torch.no_grad():
            found = backward_loop(error, error_t, trains, potentials, hears, weights, shaped, neuron, lambda_act)
        for parameter, gradient in zip(weights + biases, found[0] + found[1], strict=True):
            parameter.grad = gradient.view_as(parameter)

    def forward() -> object:
        return forward_loop(spikes_TBM, hears, weights, broadcast(), neuron)

    return _stepper(weights + biases, by_autograd if rule == "activation" else by_hand, forward)


def _linear_layers(workload: Workload) -> list[torch.nn.Linear]:
    torch.manual_seed(0)
    sizes = [int(entry.removeprefix("fc")) for entry in workload.network]
    return [torch.nn.Linear(before, after) for before, after in pairwise(sizes)]


def _snntorch_step(workload: Workload, rule: str, engine: str) -> Steps:
    import snntorch

    layers = torch.nn.ModuleList(_linear_layers(workload))
    neurons = [snntorch.Synaptic(alpha=ALPHA, beta=ALPHA, reset_mechanism="zero") for _ in layers]
    events, label_B = workload.batch()
    spikes_TBM = events.to_dense()

    def forward() -> Tensor:
        states, outputs = [n.reset_mem() for n in neurons], []
        for spikes in spikes_TBM:
            for k, (layer, neuron) in enumerate(zip(layers, neurons, strict=True)):
                spikes, *states[k] = neuron(layer(spikes), *states[k])
            outputs.append(spikes)
        return torch.stack(outputs)

    def gradients() -> None:
        output = forward()
        loss_of(rule, output, output, label_B).backward()

    return _stepper(list(layers.parameters()), gradients, forward)


def _spikingjelly_step(workload: Workload, rule: str, engine: str) -> Steps:
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.layer import SynapseFilter

    tau = 1 / (1 - ALPHA)
    parts = []
    for linear in _linear_layers(workload):
        parts += [linear, SynapseFilter(tau=tau), neuron.LIFNode(tau=tau, decay_input=False, detach_reset=True)]
    network = torch.nn.Sequential(*parts)
    functional.set_step_mode(network, "s")  # with "m" its SynapseFilter's backward takes a time that grows with T²
    events, label_B = workload.batch()
    spikes_TBM = events.to_dense()

    def forward() -> Tensor:
        functional.reset_net(network)
        return torch.stack([network(spikes) for spikes in spikes_TBM])

    def gradients() -> None:
        output = forward()
        loss_of(rule, output, output, label_B).backward()

    return _stepper(list(network.parameters()), gradients, forward)
