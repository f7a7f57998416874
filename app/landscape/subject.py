"""The network that is looked at, on fixed validation samples, with any learning rule in its backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from app.config import Config
from app.events import Batch
from app.network import Network, NetworkOutput
from app.probes import fidelity
from app.rules.rule import Rule
from app.training.build import build_rule
from app.training.module import SpikingModule
from app.training.trained import load_trained

RULES = ("activation", "timing", "antlr")


@dataclass(frozen=True)
class Subject:
    """A network at a point in weight space.

    Args:
        path: its checkpoint.
        config: its settings.
        epochs: how long it was trained.
        module: network and loss.
        batch: the samples over which everything is averaged.
        rules: whose gradients are looked at, those that learn from this loss.
    """

    path: Path
    config: Config
    epochs: int
    module: SpikingModule
    batch: Batch
    rules: dict[str, Rule]

    @property
    def network(self) -> Network:
        """The network."""
        return self.module.network

    @property
    def parameters(self) -> list[Tensor]:
        """All weights and biases, layer by layer."""
        return [p for layer in self.network.spiking for p in (layer.weight, layer.bias)]

    @property
    def weights(self) -> dict[str, int]:
        """Where each layer's weight stands among the parameters."""
        return {f"layer {k}": 2 * (k - 1) for k in range(1, len(self.network.spiking) + 1)}

    @property
    def samples(self) -> int:
        """Samples of the batch."""
        return len(self.batch.label_B)

    def output(self) -> NetworkOutput:
        """What the network does at the current weights."""
        return self.module(self.batch)

    def loss(self) -> float:
        """The true loss at the current weights."""
        with torch.no_grad():
            return float(self.module.loss(self.output(), self.batch))

    def gradient(self, rule: str) -> list[Tensor]:
        """A rule's gradient at the current weights."""
        with self._learning_by(self.rules[rule]):
            return fidelity.gradient(lambda: self.module.loss(self.output(), self.batch), self.parameters)

    @contextmanager
    def _learning_by(self, rule: Rule) -> Iterator[None]:
        own, self.network.rule = self.network.rule, rule
        try:
            yield
        finally:
            self.network.rule = own


def load(path: Path, overrides: Sequence[str], samples: int) -> Subject:
    """The network of a checkpoint.

    Args:
        path: a checkpoint, or the folder of a run, of which the best one is taken.
        overrides: ``key=value`` arguments that change its settings, such as ``data.root=``.
        samples: how many of the first validation samples are used.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    trained = load_trained(path, overrides)
    config, data = trained.config, trained.data
    data.setup("fit")
    batch = data.val_set.__getitems__(list(range(min(samples, len(data.val_set)))))
    return Subject(trained.path, config, trained.epochs, trained.module.eval(), batch, _rules(config))


def _rules(config: Config) -> dict[str, Rule]:
    names = [name for name in RULES if not (name == "timing" and config.loss == "count")]
    learning = {
        name: config.learning if name == "activation" else replace(config.learning, variant="srm") for name in names
    }
    return {name: build_rule(replace(config, rule=name, learning=learning[name])) for name in names}
