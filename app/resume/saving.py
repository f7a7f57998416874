"""When checkpoints are written, and which of them is the best."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from ..errors import UserError
from ..notice import warn
from ..run_files import CHECKPOINTS
from .checkpoint import BEST, LAST, give_second_name, kept_name, read_checkpoint
from .metrics_file import MetricsFile
from .stop_signals import StopSignals

VALIDATION = "epoch_loop.val_loop.batch_progress"


class BestCheckpoint(Checkpoint):
    """Which state is the best by validation; ``best.ckpt`` is a second name of the checkpoint that holds it.

    Its own state names no folder, so that a run's folder may be moved.

    Args:
        out: the run's folder.
        monitor: the metric; None makes every newer state the best.
        mode: whether a small (``min``) or a large (``max``) value is good.

    Attributes:
        due: the present state is the best, and not yet on the disk.
    """

    def __init__(self, out: Path, monitor: str | None, mode: str) -> None:
        self.path = out / CHECKPOINTS / BEST
        self.monitor, self.sign = monitor, {"min": -1.0, "max": 1.0}[mode]
        self.written, self.due = False, False
        self.score: float | None = None
        self.step: int | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare the validation with the best one."""
        if self.monitor in trainer.callback_metrics and trainer.state.fn == "fit" and not trainer.sanity_checking:
            score = float(trainer.callback_metrics[self.monitor])
            if self.score is None or self.sign * score > self.sign * self.score:
                self._is_best(trainer, score)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Without a metric the newest state is the best."""
        if self.monitor is None:
            self._is_best(trainer, None)

    def _is_best(self, trainer: L.Trainer, score: float | None) -> None:
        self.score, self.step, self.written, self.due = score, trainer.global_step, True, True

    def name(self, trainer: L.Trainer, path: Path) -> None:
        """Let ``best.ckpt`` be the checkpoint that was just written."""
        self.due = False
        if trainer.is_global_zero:
            give_second_name(path, BEST)
        trainer.strategy.barrier("best.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """Whether there is a best state, how good it is, and after how many steps it was."""
        return {"written": self.written, "score": self.score, "step": self.step}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on from there, unless the run goes on in another folder, which has no best checkpoint yet.

        The run may have been cut off before the file got its name. A file from later steps will be made again.
        """
        state = checkpoint["callbacks"].get(self.state_key)
        if trainer.state.fn != "fit" or not state or not state["written"]:
            return
        found, resumed = True, Path(str(trainer.ckpt_path))
        if trainer.is_global_zero:
            on_disk, now = _step_of(self.path), checkpoint["global_step"]
            if state["step"] == now != on_disk and resumed.parent.resolve() == self.path.parent.resolve():
                on_disk = now
                if resumed.name != BEST:
                    give_second_name(resumed, BEST)
            found = on_disk is not None and on_disk >= (state["step"] or 0)
            if not found and self.path.is_file():
                warn(f"{self.path} is not the best checkpoint so far: the best from here on will take its place")
        if trainer.strategy.broadcast(found):
            self.written, self.step = True, state["step"]
            self.score = None if state["score"] is None else float(state["score"])


def _step_of(path: Path) -> int | None:
    try:
        return int(read_checkpoint(path)["global_step"])
    except UserError:
        return None


class LastCheckpoint(Checkpoint):
    """``last.ckpt``, from which a run goes on exactly.

    Written at the end of every epoch, after a validation that is the best, within an epoch after a step or at the start
    of a validation when the last time is long enough ago, and when a signal asks the run to stop. Never while gradients
    are being accumulated, and never between the last batch and the validation that follows it: Lightning would not
    resume there.

    Args:
        out: the run's folder.
        every_s: seconds between two of them within an epoch; 0 writes one after every step.
        metrics: the table that is on the disk before a checkpoint is.
        best: whether the state is the best.
        stop: whether the run is to stop.
        keep_after_epochs: after these the checkpoint gets a name of its own too, ``epoch<k>.ckpt``.
    """

    def __init__(
        self,
        out: Path,
        every_s: float,
        metrics: MetricsFile,
        best: BestCheckpoint,
        stop: StopSignals,
        keep_after_epochs: Collection[int] = (),
    ) -> None:
        self.path, self.every_s = out / CHECKPOINTS / LAST, every_s
        self.metrics, self.best, self.stop, self.keep_after_epochs = metrics, best, stop, keep_after_epochs
        self.saved_s = 0.0
        self._keeps: int | None = None
        self.accumulating = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The time runs."""
        self.saved_s = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch, unless a better moment follows at once."""
        self.accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0 and not trainer.is_last_batch
        assert trainer.val_check_batch is not None  # training has begun
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.val_check_batch != 0:
            self._save_if_wanted(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save before a validation, which may take long."""
        self._save_if_wanted(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save and stop in the middle of a validation; it is run again from its beginning."""
        self._save_if_wanted(trainer, by_time=False)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best state at once, unless the epoch ends here and is saved anyway."""
        if self.best.due and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after an epoch and its validation, and keep the checkpoint if it was asked for."""
        self._keeps = trainer.current_epoch + 1 if trainer.current_epoch + 1 in self.keep_after_epochs else None
        self._save_if_wanted(trainer, always=True)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what is on record. In a validation say that its first batch is under way: Lightning runs it all again."""
        checkpoint["metrics"] = self.metrics.record()
        if trainer.validating:
            for counts in (checkpoint["loops"]["fit_loop"][VALIDATION][part] for part in ("total", "current")):
                counts["processed"] = counts["completed"] = 0
                counts["ready"] = counts["started"] = 1

    def _save_if_wanted(self, trainer: L.Trainer, by_time: bool = True, always: bool = False) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.accumulating:
            return
        signum = self.stop.received
        due = by_time and time.monotonic() - self.saved_s >= self.every_s
        wish = self._largest_wish(trainer, signum + 1 if signum else int(due))
        if wish or always:
            self._save(trainer)
        if wish > 1 and trainer.global_rank:
            raise SystemExit(0)  # one process speaks for all; Lightning's launcher takes other codes for a crash
        if wish > 1:
            self.stop.stop(wish - 1, trainer.global_step)

    def _save(self, trainer: L.Trainer) -> None:
        """Write the state of the run in the one order that leaves no gap: what is on record, the last, the best."""
        for logger in trainer.loggers:
            logger.save()
        path = self.best.path if self.accumulating else self.path
        trainer.save_checkpoint(path)
        if self.best.due and path == self.path:
            self.best.name(trainer, path)
        self.best.due = False
        if self._keeps and path == self.path and trainer.is_global_zero:
            give_second_name(path, kept_name(self._keeps))
        self._keeps = None
        self.saved_s = time.monotonic()

    @staticmethod
    def _largest_wish(trainer: L.Trainer, wish: int) -> int:
        """What the processes agree on: 0 for nothing, 1 to save, a signal's number and 1 to save and stop."""
        if trainer.world_size == 1:
            return wish
        return int(trainer.strategy.reduce(torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"))
