"""Stops a run before weights that are not finite replace a good checkpoint."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch import Tensor

from ..errors import RunStopped
from ..finite import state_trouble
from ..running import data_of, logs_this_step, module_of


class FiniteState(L.Callback):
    """Looks at weights, optimiser and what a GPU has noticed: before checkpoints and at the steps that are logged."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Check now and then."""
        if logs_this_step(trainer):
            self._check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check what is about to be saved."""
        self._check(trainer, pl_module)

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module = module_of(pl_module)
        module.stop_if_not_finite()
        moments = (
            value
            for optimizer in trainer.optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        )
        if trouble := state_trouble(module.network, moments, data_of(trainer).time_steps):
            raise RunStopped(trouble.sentence(trainer.current_epoch, trainer.global_step))
