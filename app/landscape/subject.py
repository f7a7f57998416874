"""A network at a point in weight space, on fixed samples, with any learning rule in its backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..events import Batch
from . import fidelity

Direction = list[Tensor]
"""A change of all parameters, in their order."""


@dataclass(frozen=True)
class Subject:
    """What a landscape is measured of.

    Args:
        network: has ``spiking`` layers, each with ``weight`` and ``bias``, perhaps with a ``recurrent_weight``, and a
            ``rule`` that can be exchanged.
        run: what the network does with the samples at its current weights.
        loss_of: the loss of that, a mean over the samples.
        samples: how many there are.
        rules: whose gradients are looked at, by name.
    """

    network: Any
    run: Callable[[], Any]
    loss_of: Callable[[Any], Tensor]
    samples: int
    rules: Mapping[str, Any]

    @classmethod
    def of(cls, module: Any, batch: Batch, rules: Mapping[str, Any]) -> Subject:
        """A module that has a network and its loss, on a batch."""
        return cls(
            module.network,
            run=lambda: module(batch),
            loss_of=lambda output: module.loss(output, batch),
            samples=len(batch.label_B),
            rules=rules,
        )

    @property
    def parameters(self) -> list[Tensor]:
        """All weights and biases, layer by layer, then the recurrent weights."""
        layers = self.network.spiking
        own = [p for layer in layers if (p := getattr(layer, "recurrent_weight", None)) is not None]
        return [*(p for layer in layers for p in (layer.weight, layer.bias)), *own]

    @property
    def weights(self) -> dict[str, int]:
        """Where each layer's weight stands among the parameters."""
        return {f"layer {k}": 2 * (k - 1) for k in range(1, len(self.network.spiking) + 1)}

    def spikes(self) -> list[Tensor]:
        """Spikes of every layer at the current weights, bool [T, B, *N]."""
        with torch.no_grad():
            return [activity.dense_spikes().bool() for activity in self.run().layers]

    def loss(self) -> float:
        """The true loss at the current weights."""
        with torch.no_grad():
            return float(self.loss_of(self.run()))

    def gradient(self, rule: str) -> list[Tensor]:
        """A rule's gradient at the current weights."""
        with self._learning_by(self.rules[rule]):
            return fidelity.gradient(lambda: self.loss_of(self.run()), self.parameters)

    @contextmanager
    def _learning_by(self, rule: Any) -> Iterator[None]:
        own, self.network.rule = self.network.rule, rule
        try:
            yield
        finally:
            self.network.rule = own
