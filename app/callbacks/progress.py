"""The progress bar: loss, accuracy and spikes per sample, computed only when the bar is drawn."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from ..running import module_of


class SpikeProgressBar(TQDMProgressBar):
    """Running means of the epoch, and the last validation, beside Lightning's bar."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """What the bar shows."""
        shown = {name: f"{value:.4g}" for name, value in module_of(pl_module).train_metrics.headline().items()}
        for name in ("val/accuracy_first", "val/accuracy_count", "val/loss"):
            if name in trainer.callback_metrics:
                shown[name] = f"{float(trainer.callback_metrics[name]):.4g}"
                break
        return shown
