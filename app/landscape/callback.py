"""The loss landscape and each rule's gradient in it, measured after chosen epochs of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..files import replacing
from ..pictures import show
from ..run_files import LANDSCAPE
from ..running import data_of
from . import measure, write
from .subject import Subject

ALONG = "random"


class LossLandscape(L.Callback):
    """Looks along a line through the weights after chosen epochs; 0 is before training.

    The true loss, what each rule's gradient predicts for it, and the agreement of each rule's gradient with central
    differences, layer by layer. Training does not notice: weights, rule, mode and random numbers are as before.

    Args:
        out: the run's folder; writes ``landscape/epoch<k>.png``, ``.csv`` and ``.md``.
        epochs: after how many epochs.
        points: points on the line.
        span: how far it reaches each way, in filter-normalised units.
        samples: validation samples of the fixed batch.
        seed: of the directions.
        rules: whose gradients are compared, by name.
    """

    def __init__(
        self, out: Path, epochs: list[int], points: int, span: float, samples: int, seed: int, rules: Mapping[str, Any]
    ) -> None:
        self.folder, self.epochs, self.samples, self.seed = out / LANDSCAPE, set(epochs), samples, seed
        self.steps, self.rules = measure.even_steps(points, span), rules

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure before training if epoch 0 was chosen."""
        if 0 in self.epochs and trainer.global_step == 0:
            self._measure(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure after a chosen epoch."""
        if trainer.current_epoch + 1 in self.epochs:
            self._measure(trainer, pl_module, trainer.current_epoch + 1)

    @rank_zero_only
    def _measure(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        was_training = pl_module.training
        pl_module.eval()
        batch = data_of(trainer).first_validation_samples(self.samples, pl_module.device)
        subject, name = Subject.of(pl_module, batch, self.rules), f"epoch{epoch}"
        along = measure.direction(subject, ALONG, self.seed)
        line = measure.line(subject, along, self.steps, measure.SMOOTH)
        found = measure.fidelity(subject, measure.DIRECTIONS, measure.SMOOTH, self.seed)
        pl_module.train(was_training)
        title = f"validation loss after {epoch} epochs, {subject.samples} samples"
        self.folder.mkdir(parents=True, exist_ok=True)
        write.write_line(self.folder, title, line, ALONG, name)
        tables = (
            write.verdict(line, found),
            write.line_table(line, ALONG),
            write.fidelity_table(found, measure.SMOOTH),
        )
        text = "\n".join([f"# {title}\n", *tables, f"![the loss on a line]({name}.png)\n"])
        with replacing(self.folder / f"{name}.md") as file:
            file.write(text)
        show(trainer.loggers, "landscape", self.folder / f"{name}.png")
