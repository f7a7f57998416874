"""All pictures of a network at the end of a run."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..pictures import save, show
from ..portraits import NothingToDraw, View, drawn
from ..resume.metrics_file import MetricsFile
from ..run_files import PICTURES
from ..running import data_of, module_of


class Portraits(L.Callback):
    """Draws all pictures of the network as it is when training has ended, into ``pictures/`` of the run's folder.

    Args:
        out: the run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / PICTURES

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, store and hand to W&B; what a task does not have is left out."""
        logged = [row for logger in trainer.loggers if isinstance(logger, MetricsFile) for _, row in logger.rows()]
        rows = [{name: float(value) for name, value in row.items()} for row in logged]
        data, module = data_of(trainer), module_of(pl_module)
        readout = module.config.get("readout") if module.test_metrics.classes else None
        assert data.val_set is not None  # it was validated on
        self.folder.mkdir(parents=True, exist_ok=True)
        shape, channels = tuple(data.input_shape), data.task.channel_names
        view = View(module.network, data.val_set, readout, shape, rows, channels=channels)
        for name, figure in drawn(view):
            if not isinstance(figure, NothingToDraw):
                save(figure, self.folder / f"{name}.png")
                show(trainer.loggers, f"pictures/{name}", self.folder / f"{name}.png")
