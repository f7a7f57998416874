"""What each process has on its own, in checkpoints: random states and the running metrics of the epoch."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch.distributed as dist
from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states

from ..running import module_of


class RankState(L.Callback):
    """Saves a state of every process; the same number of processes gets it back.

    Subclasses define :meth:`collect` and :meth:`restore`.
    """

    def __init__(self) -> None:
        self.loaded: dict[str, Any] | None = None

    def collect(self, pl_module: L.LightningModule) -> dict[str, Any]:
        """This process's state, in types that ``torch.load(weights_only=True)`` accepts."""
        raise NotImplementedError

    def restore(self, pl_module: L.LightningModule, state: dict[str, Any]) -> None:
        """Put it back, after everything that may disturb it while setting up."""
        raise NotImplementedError

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the states of all processes."""
        mine = self.collect(pl_module)
        every: list[Any] = [mine]
        if dist.is_initialized():
            every = [None] * dist.get_world_size()
            dist.all_gather_object(every, mine)
        checkpoint["callbacks"][self.state_key] = {"ranks": every}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember this process's state until training starts."""
        ranks = state_dict["ranks"]
        self.loaded = ranks[dist.get_rank() % len(ranks) if dist.is_initialized() else 0]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Put the state back before the first batch."""
        self._restore_once(pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the state back when a run goes on with a validation."""
        if not trainer.sanity_checking:
            self._restore_once(pl_module)

    def _restore_once(self, pl_module: L.LightningModule) -> None:
        if self.loaded is not None:
            state, self.loaded = self.loaded, None
            self.restore(pl_module, state)


class RandomState(RankState):
    """The random states of Python, NumPy and PyTorch, of which Lightning saves none."""

    def collect(self, pl_module: L.LightningModule) -> dict[str, Any]:
        """The states, NumPy's as a list."""
        state = _collect_rng_states()
        kind, keys, *rest = state["numpy"]
        return {**state, "numpy": [kind, keys.tolist(), *rest]}

    def restore(self, pl_module: L.LightningModule, state: dict[str, Any]) -> None:
        """Set the states."""
        kind, keys, *rest = state["numpy"]
        _set_rng_states({**state, "numpy": (kind, np.array(keys, dtype=np.uint32), *rest)})


class RunningMetrics(RankState):
    """The sums over the part of the epoch that is done, so that the epoch's ``train/…`` covers all of it."""

    def collect(self, pl_module: L.LightningModule) -> dict[str, Any]:
        """The sums."""
        return module_of(pl_module).train_metrics.sums()

    def restore(self, pl_module: L.LightningModule, state: dict[str, Any]) -> None:
        """Add the sums to what is there, which is nothing."""
        module_of(pl_module).train_metrics.add_sums(state)
