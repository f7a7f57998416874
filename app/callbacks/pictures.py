"""When pictures of a network are made: a spike raster at the end, the loss landscape at chosen epochs."""

from __future__ import annotations

import csv
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure

from app.events import Batch
from app.probes import figures
from app.probes.landscape import filter_normalised_direction, loss_along
from app.readout import first_spike_steps


def store(figure: Figure, path: Path, trainer: L.Trainer, name: str) -> None:
    """Write a picture, and hand it to W&B if that is on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)])


class SpikeRaster(L.Callback):
    """Draws all spikes of the first validation sample when training ends.

    Args:
        out: the run's folder; the picture is ``raster.png``.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run the sample through the network and draw it."""
        batch = first_validation_samples(trainer, pl_module, 1)
        with torch.no_grad():
            output = pl_module(batch)
        layers = [("input", batch.events.to_dense())]
        layers += [(f"layer {k}", activity.dense_spikes()) for k, activity in enumerate(output.layers, 1)]
        first_N = first_spike_steps(output.spikes_TBN)[0]
        title = "first validation sample"
        if batch.target_TBN is None:
            title += f": label {int(batch.label_B)}, first spike of class {int(first_N.argmin())}"
        panels = [(name, spikes[:, 0].flatten(1).cpu()) for name, spikes in layers]
        if batch.target_TBN is not None:
            panels.append(("target", batch.target_TBN[:, 0].cpu()))
        figure = figures.raster(panels, int(first_N.min()), title, batch.events.time_steps)
        store(figure, self.out / "raster.png", trainer, "raster")


class LossLandscape(L.Callback):
    """Measures the loss on a line through the weights after chosen epochs; 0 is before training.

    Args:
        out: the run's folder; writes ``landscape/epoch<k>.png`` and ``.csv``.
        epochs: after how many epochs.
        points: points on the line.
        span: how far it reaches each way, in filter-normalised units.
        samples: validation samples of the fixed batch.
        seed: of the direction.
    """

    def __init__(self, out: Path, epochs: list[int], points: int, span: float, samples: int, seed: int) -> None:
        self.out, self.epochs, self.samples, self.seed = out, set(epochs), samples, seed
        self.steps = torch.linspace(-span, span, points, dtype=torch.float64).tolist()

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
        batch = first_validation_samples(trainer, pl_module, self.samples)
        parameters = list(pl_module.network.parameters())
        direction = filter_normalised_direction(parameters, self.seed)

        def loss() -> float:
            return float(pl_module.loss(pl_module(batch), batch))

        losses = loss_along(loss, parameters, direction, self.steps)
        folder = self.out / "landscape"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"epoch{epoch}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("step", "loss"), *zip(self.steps, losses, strict=True)])
        title = f"validation loss after {epoch} epochs, {self.samples} samples"
        store(figures.landscape(self.steps, losses, title), folder / f"epoch{epoch}.png", trainer, "landscape")


def first_validation_samples(trainer: L.Trainer, pl_module: L.LightningModule, samples: int) -> Batch:
    """The first samples of the validation split, on the module's device."""
    dataset = trainer.datamodule.val_set
    batch = dataset.__getitems__(list(range(min(samples, len(dataset)))))
    return pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
