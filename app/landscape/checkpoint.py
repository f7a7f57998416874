"""The network of a checkpoint on its first validation samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..training.build import compared_rules
from ..training.trained import load_trained
from .subject import Subject


@dataclass(frozen=True)
class Loaded:
    """A network that can be looked at.

    Args:
        path: its checkpoint.
        config: its settings.
        epochs: how long it was trained.
        subject: the network with its samples.
    """

    path: Path
    config: Config
    epochs: int
    subject: Subject

    @property
    def heading(self) -> str:
        """What is looked at, in one line."""
        c = self.config
        return (
            f"{c.task}, trained by the {c.rule} rule for {self.epochs} epochs, {c.loss} loss over "
            f"{self.subject.samples} validation sample{'s' if self.subject.samples > 1 else ''}"
        )


def load(path: Path, overrides: Sequence[str], samples: int, untrained: bool = False) -> Loaded:
    """The network of a checkpoint.

    Args:
        path: a checkpoint, or the folder of a run, of which the best one is taken.
        overrides: ``key=value`` arguments that change its settings, such as ``data.root=``.
        samples: how many of the first validation samples are used.
        untrained: take the network as it was before the first step.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    trained = load_trained(path, overrides, untrained)
    batch = trained.data.first_validation_samples(samples)
    subject = Subject.of(trained.module.eval(), batch, compared_rules(trained.config))
    return Loaded(trained.path, trained.config, trained.epochs, subject)
