"""How spikes are spread over samples: the mean hides the expensive ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from ..events import Batch
from ..network import NetworkOutput
from ..readout import decision_steps


class SpikeCounts(L.Callback):
    """Logs quantiles over the validation samples of the spikes per sample and of the decision spikes."""

    QUANTILES = (0.1, 0.5, 0.9)

    def __init__(self) -> None:
        self.total: list[torch.Tensor] = []
        self.decision: list[torch.Tensor] = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Count the spikes of every sample."""
        output: NetworkOutput = outputs
        step_B = decision_steps(output.spikes_TBN)
        self.total.append(_sum(activity.totals_TB.sum(0) for activity in output.layers))
        self.decision.append(_sum(activity.count_until(step_B) for activity in output.layers))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the quantiles over the samples of all processes."""
        for name, counts in (("spikes_per_sample", self.total), ("decision_spikes", self.decision)):
            if counts and not trainer.sanity_checking:
                values = _of_all_processes(torch.cat(counts)).float()
                for q in self.QUANTILES:
                    quantile = values.quantile(q)
                    pl_module.log(f"val/{name}_p{round(100 * q)}", quantile, batch_size=1, sync_dist=False)
            counts.clear()


def _sum(counts: Iterable[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, counts)


def _of_all_processes(counts_S: torch.Tensor) -> torch.Tensor:
    """The counts of the samples of all processes, which may have different numbers of them."""
    if not dist.is_initialized():
        return counts_S
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, counts_S.cpu())
    return torch.cat(every).to(counts_S.device)
