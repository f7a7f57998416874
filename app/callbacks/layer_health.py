"""A word of warning when a layer falls silent or floods."""

from __future__ import annotations

import lightning as L

from ..notice import warn
from ..running import module_of

FLOODED = 0.5
"""A layer floods when more than this share of its (sample, neuron) pairs is saturated."""


class LayerHealth(L.Callback):
    """Warns, once until it recovers, of a layer that fired no spike in an epoch of training, or that floods."""

    def __init__(self) -> None:
        self.ill: set[str] = set()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch's training metrics, which the module logs and forgets only afterwards."""
        metrics = module_of(pl_module).train_metrics
        metrics.catch_up()
        found = diagnose({name: float(value) for name, value in metrics.compute().items()})
        for problem, remedy in found.items():
            if problem not in self.ill:
                warn(f"in epoch {trainer.current_epoch} {problem}: {remedy}")
        self.ill = set(found)


def diagnose(values: dict[str, float]) -> dict[str, str]:
    """What ails the layers, and the remedy.

    Args:
        values: the metrics of a split, as :class:`app.metrics.SpikeMetrics` computes them.
    """
    found, k = {}, 1
    while f"layer{k}/spikes_per_sample" in values:
        if values[f"layer{k}/spikes_per_sample"] == 0:
            found[f"layer {k} fired no spike at all"] = (
                "lower optim.lr, or start anew with init=target_rate or a larger init_bias_center"
            )
        if values[f"layer{k}/saturated_share"] > FLOODED:
            found[f"layer {k} floods, most of its neurons fire in more than half of the steps"] = (
                "lower optim.lr or init_bias_center, or set neuron.max_spikes_per_neuron"
            )
        k += 1
    return found
