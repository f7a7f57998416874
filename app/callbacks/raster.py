"""The spike raster at the end of a run."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..pictures import raster, save, show, spike_panels
from ..readout import first_spike_steps
from ..run_files import RASTER
from ..running import data_of


class SpikeRaster(L.Callback):
    """Draws all spikes of the first validation sample when training has ended.

    Also when a run is taken up that was killed behind its last step, before its picture was drawn.

    Args:
        out: the run's folder; the picture is ``raster.png``.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / RASTER

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run the sample through the network and draw it."""
        batch = data_of(trainer).first_validation_samples(1, pl_module.device)
        with torch.no_grad():
            output = pl_module(batch)
        panels = spike_panels(batch.events, output)
        first_N = first_spike_steps(output.spikes_TBN)[0]
        title = "first validation sample"
        if batch.target_TBN is None:
            title += f": label {int(batch.label_B)}, first spike of class {int(first_N.argmin())}"
        else:
            panels.append(("target", batch.target_TBN[:, 0].cpu()))
        channels = data_of(trainer).task.channel_names
        save(raster(panels, int(first_N.min()), title, batch.events.time_steps, channels), self.path)
        show(trainer.loggers, "raster", self.path)
