"""Random numbers in checkpoints: Lightning saves none."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch.distributed as dist
from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states


class RandomState(L.Callback):
    """Saves the random states of Python, NumPy and PyTorch of every process; puts them back at the first batch."""

    def __init__(self) -> None:
        self.pending: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of all ranks, in types that ``torch.load(weights_only=True)`` accepts."""
        state = _collect_rng_states()
        kind, keys, *rest = state["numpy"]
        state["numpy"] = [kind, keys.tolist(), *rest]
        if not dist.is_initialized():
            return {"ranks": [state]}
        every: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(every, state)
        return {"ranks": every}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember this rank's state until training starts."""
        ranks = state_dict["ranks"]
        self.pending = ranks[dist.get_rank() % len(ranks) if dist.is_initialized() else 0]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Put the state back, after everything that draws random numbers while setting up."""
        if self.pending is None:
            return
        state, self.pending = dict(self.pending), None
        kind, keys, *rest = state["numpy"]
        state["numpy"] = (kind, np.array(keys, dtype=np.uint32), *rest)
        _set_rng_states(state)
