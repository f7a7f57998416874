"""Networks of spiking layers that learn by one rule and run on one of several engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .engines import AUTO, ENGINES, Choice, NetworkOutput, choose
from .events import SpikeEvents
from .layers import SpikingLayer
from .layers.delays import Delays
from .layers.learned import LearnPer
from .layers.spec import build_layers
from .layers.synapses import PRODUCTS
from .neuron.lif import Neuron
from .rules.rule import Rule

__all__ = ["Network", "NetworkOutput", "States"]


class States(NamedTuple):
    """What a spiking layer went through, each [T, B, *N]: V and I before the reset, and the spikes (0/1)."""

    potential_TBN: Tensor
    current_TBN: Tensor
    spikes_TBN: Tensor


class Network(nn.Module):
    """A spiking network: layers one behind the other, which may hear themselves.

    ``layers`` may be changed like any ``ModuleList``: what is there when the network runs is what runs.

    Args:
        spec: input shape, then layers: ``fcN``, ``rfcN`` (it hears its own spikes of the step before), ``convCcK`` or
            ``convCcKsS`` (C channels, K×K, stride 1 or S, padding K // 2), ``apoolP``, ``mpoolP``, ``flatten``.
        neuron: constants of all neurons.
        rule: the learning rule that ``backward`` follows.
        bias: what all biases start with.
        engine: the name of the engine that runs the network; ``auto`` takes the fastest one that can.
        delays: on the way to every fully connected layer; None for none.
        products: ``float32``, ``tf32`` or ``bf16``: in which numbers spikes and errors are multiplied by weights; all
            else, and what comes out of a product, keeps the type of the weights.
        learn: constants that each layer learns, of ``alpha_v``, ``alpha_i`` and ``threshold``
            (:class:`app.layers.learned.LearnedConstants`).
        learn_per: one value for each layer, or one for each of its neurons.

    Raises:
        ValueError: naming the entry of the specification that cannot be built, or what stands in the engine's way.

    Examples:
        >>> from app.rules import antlr
        >>> neuron = Neuron.auto(0.95, 0.9, time_steps=20)
        >>> network = Network(["4", "fc3", "fc2"], neuron, antlr(), bias=0.1, engine="layerwise")
        >>> spikes_TBN = network(torch.ones(20, 5, 4)).spikes_TBN
        >>> spikes_TBN.shape, [tuple(layer.weight.shape) for layer in network.spiking]
        (torch.Size([20, 5, 2]), [(3, 4), (2, 3)])
    """

    def __init__(
        self,
        spec: list[str],
        neuron: Neuron,
        rule: Rule,
        bias: float = 0.0,
        engine: str = AUTO,
        delays: Delays | None = None,
        products: str = "float32",
        learn: Sequence[str] = (),
        learn_per: LearnPer = "layer",
    ) -> None:
        super().__init__()
        self.spec = list(spec)
        self.neuron = neuron
        self.rule = rule
        self.rule.parameters()
        if products not in PRODUCTS:
            raise ValueError(f"products={products!r} is unknown; choose {', '.join(PRODUCTS)}")
        self.input_shape, self.layers = build_layers(self.spec, bias, delays)
        self.draw_recurrent_weights()
        self.draw_delays()
        if products != PRODUCTS[0]:
            self._multiply_in(products)
        for layer in self.spiking if learn else ():
            layer.learn(neuron, learn, learn_per)
        self.engine = engine
        self.choose_engine()

    def _multiply_in(self, products: str) -> None:
        for layer in self.spiking:
            if layer.delays is not None or layer.recurrent_weight is not None:
                what = "a recurrent layer" if layer.delays is None else "delays"
                raise ValueError(f"products={products} is not known to {what}; use products={PRODUCTS[0]}")
            layer.synapses = replace(layer.synapses, products=products)

    @property
    def engine(self) -> str:
        """The engine that was asked for."""
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        if name != AUTO and name not in ENGINES:
            raise ValueError(f"engine={name!r} is unknown; choose {', '.join((AUTO, *ENGINES))}")
        self._engine = name

    def draw_recurrent_weights(self) -> None:
        """Draw the starting weights of recurrent connections from the global generator."""
        for layer in self.spiking:
            layer.draw_recurrent_weight()

    def draw_delays(self) -> None:
        """Draw the starting delays from the global generator."""
        for layer in self.spiking:
            layer.draw_delays()

    @property
    def spiking(self) -> list[SpikingLayer]:
        """The layers that have neurons, first to last."""
        return [layer for layer in self.layers if isinstance(layer, SpikingLayer)]

    def learned_values(self) -> dict[str, Tensor]:
        """The learned constants, as ``learned/layer1/alpha_v``; of many values the mean, and ``…_min``, ``…_max``."""
        found = {}
        for number, layer in enumerate(self.spiking, 1):
            for name, value in (layer.learned.values() if layer.learned else {}).items():
                key, value = f"learned/layer{number}/{name}", value.detach()
                found[key] = value.mean()
                if value.numel() > 1:
                    found |= {f"{key}_min": value.min(), f"{key}_max": value.max()}
        return found

    def choose_engine(self, spikes: SpikeEvents | Tensor | None = None) -> Choice:
        """The engine that runs this network as it is now, and why others do not."""
        return choose(self, spikes)

    def forward(self, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch through all layers, one whole window per layer at a time.

        If dense spikes require a gradient, it is the activation error dL/dS of the input.

        Args:
            spikes: event lists, or dense spikes [T, B, *input_shape], 0/1 as a rule. An input of one axis stands for
                any shape of as many neurons, row by row, and the other way round.
            stop_at_first_output: follow each sample only to the step of its first output spike: all later spikes are
                missing, there is no gradient, and an engine may save the time. First-spike predictions, decision steps
                and decision spikes are those of the whole window; counts are not.

        Raises:
            ValueError: the input does not fit, or what stands in the engine's way.
        """
        spikes = self._fitting(spikes)
        engine = ENGINES[self.choose_engine(spikes).name]
        if not stop_at_first_output:
            return engine.run(self, spikes)
        with torch.no_grad():
            return engine.run(self, spikes, True)

    @torch.no_grad()
    def record(self, spikes: SpikeEvents | Tensor, layers: Sequence[int] | None = None) -> list[States]:
        """Membrane potentials, synaptic currents and spikes, for plots; computed by the plain engine.

        Args:
            spikes: as for :meth:`forward`; give only the samples that you want to see.
            layers: numbers of spiking layers, 1 for the first; None for all.

        Returns:
            the states of each of these layers.
        """
        spikes = self._fitting(spikes)
        if isinstance(spikes, SpikeEvents):
            parameter = next(self.parameters())
            spikes = spikes.to(parameter.device).to_dense(parameter.dtype)
        channels: tuple[Tensor, Tensor] = (spikes, spikes)
        found: list[States] = []
        for layer in self.layers:
            if isinstance(layer, SpikingLayer):
                known = layer.states(channels[0], self.neuron)
                assert known.current_TBN is not None
                found.append(States(known.potential_TBN, known.current_TBN, known.spikes_TBN))
                channels = (found[-1].spikes_TBN, found[-1].spikes_TBN)
            else:
                channels = layer(channels)
        numbers = range(1, len(found) + 1)
        for number in layers or numbers:
            if number not in numbers:
                raise ValueError(f"layers={list(layers or [])}: there are spiking layers 1 to {len(found)}")
        return [found[k - 1] for k in layers or numbers]

    def _fitting(self, spikes: SpikeEvents | Tensor) -> SpikeEvents | Tensor:
        """The input in the shape and type that engines take; what does not fit is refused."""
        if isinstance(spikes, SpikeEvents):
            self._check_sizes(spikes.time_steps, spikes.batch_size, spikes.shape)
            return spikes if spikes.shape == self.input_shape else spikes.reshaped(self.input_shape)
        if not isinstance(spikes, Tensor):
            raise ValueError(f"spikes is a {type(spikes).__name__}: give a tensor [T, B, …] or SpikeEvents")
        if spikes.dim() < 3:
            raise ValueError(f"spikes of shape {tuple(spikes.shape)} must have the axes [T, B, *input shape]")
        self._check_sizes(spikes.shape[0], spikes.shape[1], tuple(spikes.shape[2:]))
        if not spikes.is_floating_point():
            spikes = spikes.to(next(self.parameters()).dtype)
        return spikes.reshape(*spikes.shape[:2], *self.input_shape)

    def _check_sizes(self, steps: int, samples: int, shape: tuple[int, ...]) -> None:
        if not steps or not samples:
            raise ValueError(f"spikes have {steps} time steps and {samples} samples: give at least one of each")
        flat = 1 in (len(shape), len(self.input_shape)) and prod(shape) == prod(self.input_shape)
        if shape != self.input_shape and not flat:
            shown = ["x".join(map(str, one)) for one in (shape, self.input_shape)]
            raise ValueError(f"spikes have the shape [T, B, {shown[0]}], but the network's input is {shown[1]}")
