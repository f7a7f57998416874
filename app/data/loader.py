"""DataLoaders over an EventDataset: no collating, own generators, and a training loader that resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..events import Batch
from .augmentation import AugmentedDataset
from .event_dataset import EventDataset
from .sampler import EvaluationBatches, Position, TrainingBatches


def _as_gathered(batch: Batch) -> Batch:
    """The collate function: the data set has already gathered the batch."""
    return batch


def _loader_options(num_workers: int) -> dict[str, Any]:
    """Options of every loader; the own generator keeps iterating from drawing a seed from the global one."""
    return {
        "num_workers": num_workers,
        "collate_fn": _as_gathered,
        "generator": torch.Generator(),
        "pin_memory": torch.cuda.is_available(),
        "persistent_workers": num_workers > 0,
    }


def evaluation_loader(dataset: EventDataset, batches: EvaluationBatches, num_workers: int) -> DataLoader[Batch]:
    """A loader in fixed order."""
    return DataLoader(dataset, batch_sampler=batches, **_loader_options(num_workers))


class TrainingLoader(DataLoader[Batch]):
    """Delivers epoch after epoch, each pass the next one, and keeps count in a :class:`Position` that others save.

    Args:
        dataset: the training samples.
        batches: which samples make which batch.
        position: where training stands; shared with the data module, which saves and restores it.
        epoch_batches: the number of batches that an epoch really runs (fewer than ``len(self)`` when it is limited);
            read when a pass starts, since Lightning does not know it earlier.
        num_workers: worker processes; the batches do not depend on it.
    """

    def __init__(
        self,
        dataset: EventDataset | AugmentedDataset,
        batches: TrainingBatches,
        position: Position,
        epoch_batches: Callable[[], int],
        num_workers: int,
    ) -> None:
        super().__init__(dataset, batch_sampler=batches, **_loader_options(num_workers))
        self.batches = batches
        self.position = position
        self.epoch_batches = epoch_batches

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator: Lightning makes iterators before it is ready, and nothing may happen before the first next().
        self.position.start_pass(self.epoch_batches())
        self.batches.epoch, self.batches.first_batch = self.position.epoch, self.position.batches
        for batch in super().__iter__():
            self.position.batches += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Empty: the data module saves the position. Only tells Lightning that resuming in mid epoch works."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore, see :meth:`state_dict`."""
