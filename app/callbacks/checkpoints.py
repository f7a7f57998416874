"""When checkpoints are written: the best one after validations, the last one often, and on Ctrl-C or SIGTERM."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from ..checkpoint import BEST, CHECKPOINTS, LAST
from ..errors import Interrupted, RunStopped, UserError
from .process_errors import keep_own_error, lost_the_others
from .stop_signals import StopSignals

VALIDATION = "epoch_loop.val_loop.batch_progress"
SCHEDULE = {"base_lrs": [0.0], "last_epoch": 0, "_step_count": 0, "_last_lr": [0.0]}
"""What a learning-rate schedule with one group of weights has."""


class BestCheckpoint(ModelCheckpoint):
    """``best.ckpt``, the best by validation so far; its state names no folder, so that a run's folder may be moved.

    Args:
        out: the run's folder.
        monitor: the metric; None keeps the newest state.
        mode: whether a small (``min``) or a large (``max``) value is good.
    """

    def __init__(self, out: Path, monitor: str | None, mode: str) -> None:
        super().__init__(out / CHECKPOINTS, Path(BEST).stem, monitor, mode=mode, enable_version_counter=False)

    def state_dict(self) -> dict[str, Any]:
        """Whether there is a best checkpoint, and how good it is."""
        return {"written": bool(self.best_model_path), "score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, unless the run goes on in another folder, which has no best checkpoint yet."""
        path, score = str(Path(self.dirpath, BEST)), state_dict["score"]
        if not state_dict["written"] or not Path(path).is_file():
            return
        self.best_model_path, self.best_model_score = path, score
        if score is not None:
            self.best_k_models, self.kth_best_model_path, self.kth_value = {path: score}, path, score


class LastCheckpoint(Checkpoint):
    """``last.ckpt``, from which a run goes on exactly.

    Written at the end of every epoch, within it after a step or at the start of a validation when the last time is long
    enough ago, and when Ctrl-C or SIGTERM ask the run to stop. Never while gradients are being accumulated, and never
    between the last batch and the validation that follows it: Lightning would not resume there.

    Args:
        out: the run's folder.
        every_s: seconds between two of them within an epoch; 0 writes one after every step.
    """

    def __init__(self, out: Path, every_s: float) -> None:
        self.out, self.every_s = out, every_s
        self.path = out / CHECKPOINTS / LAST
        self.signals = StopSignals()
        self.saved_s = 0.0
        self.accumulating = False
        self.begun = False

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """The states of a checkpoint are back in their places."""
        self.begun = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From now on signals wait for a checkpoint; refuse what an optimiser or schedule cannot have had.

        Raises:
            UserError: naming the checkpoint.
        """
        if trainer.ckpt_path:
            pairs = [("optimizer_states", one.defaults, one.param_groups[0]) for one in trainer.optimizers]
            schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
            self._refuse_others(trainer, [*pairs, *(("lr_schedulers", SCHEDULE, state) for state in schedules)])
        self.signals.listen()
        self.saved_s = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch, unless a better moment follows at once."""
        self.accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0 and not trainer.is_last_batch
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.val_check_batch != 0:
            self._save_if_wanted(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save before a validation, which may take long."""
        self.begun = True
        self._save_if_wanted(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save and stop in the middle of a validation; it is run again from its beginning."""
        self._save_if_wanted(trainer, by_time=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after an epoch and its validation."""
        self._save_if_wanted(trainer, always=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The work is safe: signals act at once again."""
        self.signals.release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what has happened when a checkpoint does not fit, or the processes of a run lose one another."""
        self.signals.release()
        if lost_the_others(exception):
            raise RunStopped(
                f"process {trainer.global_rank} lost the others in step {trainer.global_step} "
                f"({_first_line(exception)}): one of them has ended; {self._how_to_go_on()}"
            ) from None
        answered = isinstance(exception, UserError | RunStopped | OSError) or not isinstance(exception, Exception)
        if trainer.ckpt_path and not self.begun and not answered:
            raise UserError(
                f"ckpt={trainer.ckpt_path}: its state is not one that this version of the project can go on from "
                f"({type(exception).__name__}: {_first_line(exception)}); use another one"
            ) from exception
        if trainer.world_size > 1 and not answered:
            keep_own_error(trainer, exception, self.out, self._how_to_go_on())

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse counters and callback states that are not built like those of this run.

        Raises:
            UserError: naming the checkpoint.
        """
        if trainer.state.fn != "fit":
            return
        loops, states = checkpoint["loops"].get("fit_loop"), checkpoint["callbacks"]
        known = (callback for callback in trainer.callbacks if callback.state_key in states)
        pairs = [(callback.state_key, callback.state_dict(), states[callback.state_key]) for callback in known]
        pairs.append(("loops", trainer.fit_loop.state_dict(), loops))
        self._refuse_others(trainer, pairs)

    @staticmethod
    def _refuse_others(trainer: L.Trainer, pairs: list[tuple[str, Any, Any]]) -> None:
        for name, own, loaded in pairs:
            if not _built_alike(own, loaded):
                raise UserError(
                    f"ckpt={trainer.ckpt_path}: its {name!r} is not a state of this project; use another one"
                )

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """A checkpoint of a validation says that its first batch is under way: Lightning then runs it all again."""
        if trainer.validating:
            for counts in (checkpoint["loops"]["fit_loop"][VALIDATION][part] for part in ("total", "current")):
                counts["processed"] = counts["completed"] = 0
                counts["ready"] = counts["started"] = 1

    def _save_if_wanted(self, trainer: L.Trainer, by_time: bool = True, always: bool = False) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.accumulating:
            return
        due = by_time and time.monotonic() - self.saved_s >= self.every_s
        wish = self._largest_wish(trainer, self.signals.received or int(due))
        if wish or always:
            for logger in trainer.loggers:
                logger.save()  # what is logged before the checkpoint is on the disk before it
            trainer.save_checkpoint(self.path)
            self.saved_s = time.monotonic()
        if wish > 1 and trainer.global_rank:
            raise SystemExit(0)  # one process speaks for all; Lightning's launcher takes other codes for a crash
        if wish > 1:
            raise Interrupted(wish, f"step {trainer.global_step} is saved; {self._how_to_go_on()}")

    @staticmethod
    def _largest_wish(trainer: L.Trainer, wish: int) -> int:
        """What the processes agree on: 0 for nothing, 1 to save, a signal's number to save and stop."""
        if trainer.world_size == 1:
            return wish
        return int(trainer.strategy.reduce(torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"))

    def _how_to_go_on(self) -> str:
        return f"go on with: python train.py ckpt=last out={self.out}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:120]


def _built_alike(own: Any, loaded: Any) -> bool:
    """Whether a state has all keys of another one, with counts, (lists of) numbers and flags where that has them."""
    if isinstance(own, dict):
        return isinstance(loaded, dict) and all(k in loaded and _built_alike(own[k], loaded[k]) for k in own)
    if isinstance(own, list) and own and isinstance(own[0], float):
        return isinstance(loaded, list) and len(loaded) == len(own) and all(map(_built_alike, own, loaded))
    if isinstance(own, bool):
        return isinstance(loaded, bool)
    if isinstance(own, int | float) and isinstance(loaded, float):
        return math.isfinite(loaded)  # a Timer's seconds, which may be negative while a validation runs
    if isinstance(own, int | float):
        return isinstance(loaded, int) and not isinstance(loaded, bool) and 0 <= loaded < 2**53
    return True
