"""Pictures of a run: storing them, and the spike raster at its end."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure

from ..events import Batch
from ..files import replacing
from ..probes import figures
from ..readout import first_spike_steps


def store(figure: Figure, path: Path, trainer: L.Trainer, name: str) -> None:
    """Write a picture, whole or not at all, and hand it to W&B if that is on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "wb") as file:
        figure.savefig(file, dpi=120, format=path.suffix[1:])
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


def first_validation_samples(trainer: L.Trainer, pl_module: L.LightningModule, samples: int) -> Batch:
    """The first samples of the validation split, on the module's device."""
    dataset = trainer.datamodule.val_set
    batch = dataset.__getitems__(list(range(min(samples, len(dataset)))))
    return pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
