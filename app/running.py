"""What a training in progress is made of, under its types: Lightning's own objects do not name them."""

from __future__ import annotations

from typing import Any, Protocol, cast

import lightning as L

from .data.base import EventDataModule
from .metrics import SpikeMetrics
from .network import Network


class Module(Protocol):
    """What callbacks use of :class:`app.training.module.SpikingModule`, see there."""

    network: Network
    train_metrics: SpikeMetrics
    test_metrics: SpikeMetrics
    config: dict[str, Any]

    def stop_if_not_finite(self) -> None:
        """Raise RunStopped when a GPU has seen a loss or gradient that is not finite."""


class _Trainer(Protocol):
    """What Lightning's Trainer gets from its connectors."""

    datamodule: EventDataModule
    callbacks: list[L.Callback]
    log_every_n_steps: int
    global_step: int


def module_of(pl_module: L.LightningModule) -> Module:
    """The module that is trained."""
    return cast(Module, pl_module)


def data_of(trainer: L.Trainer) -> EventDataModule:
    """The data that it is trained on."""
    return cast(_Trainer, trainer).datamodule


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """All callbacks, in the order in which they are called."""
    return cast(_Trainer, trainer).callbacks


def logs_this_step(trainer: L.Trainer) -> bool:
    """Whether the step is one of those that are logged."""
    of = cast(_Trainer, trainer)
    return of.global_step % of.log_every_n_steps == 0
