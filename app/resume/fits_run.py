"""Whether the states of a checkpoint are those of the run that goes on from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch.optim import Optimizer

from ..errors import RunStopped, UserError
from ..running import callbacks_of
from .check import unlike


class FitsRun(Checkpoint):
    """Refuses a checkpoint whose states are not built like those of this run, before the first step.

    A ``Checkpoint`` so that Lightning calls it after all other callbacks.
    """

    def __init__(self) -> None:
        self.checkpoint: dict[str, Any] = {}
        self.begun = False

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare counters and the states of callbacks.

        Raises:
            UserError: naming the checkpoint.
        """
        if trainer.state.fn == "fit":
            self.checkpoint, states = checkpoint, checkpoint["callbacks"]
            own = {one.state_key: one.state_dict() for one in callbacks_of(trainer) if one.state_key in states}
            self._refuse_others(trainer, {"loops": {"fit_loop": trainer.fit_loop.state_dict()}, "callbacks": own})

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare optimiser and schedule, which exist by now and have taken nothing over yet.

        The fused optimisers compare no shapes: they would write past the end of a smaller array.

        Raises:
            UserError: naming the checkpoint.
        """
        if self.checkpoint:
            stepped = self.checkpoint["global_step"] > 0
            optimisers = [state_after_a_step(one) if stepped else one.state_dict() for one in trainer.optimizers]
            schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
            self._refuse_others(trainer, {"optimizer_states": optimisers, "lr_schedulers": schedules})
            self.checkpoint = {}

    def _refuse_others(self, trainer: L.Trainer, own: dict[str, Any]) -> None:
        if (place := unlike(own, self.checkpoint)) is not None:
            raise UserError(f"ckpt={trainer.ckpt_path}: its {place!r} is not a state of this run; use another one")

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """The states of a checkpoint are back in their places."""
        self.begun = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The same in a run that goes on with a validation."""
        self.begun = True

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what has happened when a state cannot be taken over."""
        answered = isinstance(exception, UserError | RunStopped | OSError) or not isinstance(exception, Exception)
        if trainer.ckpt_path and not self.begun and not answered:
            raise UserError(
                f"ckpt={trainer.ckpt_path}: its state is not one that this version of the project can go on from "
                f"({type(exception).__name__}: {(str(exception).splitlines() or [''])[0][:120]}); use another one"
            ) from exception


def state_after_a_step(optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimiser as it is once it has made a step: found by a step of one weight."""
    weight = torch.zeros(1, 1, requires_grad=True)
    weight.grad = torch.zeros(1, 1)
    make: Callable[[list[torch.Tensor]], Optimizer] = type(optimizer)  # every kind has defaults for its settings
    one = make([weight])
    one.param_groups[0].update((key, value) for key, value in optimizer.param_groups[0].items() if key != "params")
    one.step()
    state = optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, other in enumerate(weights):
        moments = {name: value if value.dim() == 0 else other for name, value in one.state[weight].items()}
        if moments:
            state["state"][index] = moments
    return state
