"""Samples whose labels are their numbers, so that batches show their samples."""

from dataclasses import dataclass
from typing import ClassVar

import lightning as L
import numpy as np
import torch

from app.data.base import EventDataModule
from app.data.event_arrays import EventArrays
from app.data.event_dataset import EventDataset
from app.data.task import Task

TIME_STEPS, SHAPE = 12, (2, 3, 4)


def make_arrays(samples: int = 20, rate: float = 0.1) -> tuple[EventArrays, np.ndarray]:
    """Arrays and the dense spikes of shape [S, T, N] that they hold; some samples are silent."""
    dense = np.random.default_rng(0).random((samples, TIME_STEPS, 24)) < rate
    dense[[0, 7, samples - 1]] = False
    rows, steps, neurons = dense.nonzero()
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=samples))])
    labels = np.arange(samples, dtype=np.uint8)
    return EventArrays(steps.astype(np.int16), neurons.astype(np.uint16), offsets, labels), dense


TRAIN, VAL = 23, 10


@dataclass(frozen=True)
class Numbered(Task):
    """Each label is the number of its sample."""

    input_shape: ClassVar[tuple[int, ...]] = SHAPE
    num_classes: ClassVar[int] = TRAIN

    def load_train_val(self, time_steps, seed):
        return self._numbered(TRAIN, time_steps), self._numbered(VAL, time_steps)

    def load_test(self, time_steps, seed):
        return self._numbered(11, time_steps)

    def _numbered(self, samples, time_steps):
        return EventDataset(make_arrays(samples)[0], time_steps, self.input_shape)


def numbered_data(**options):
    """Batches of 4, hence 6 in an epoch."""
    return EventDataModule(Numbered(), **{"time_steps": TIME_STEPS, "batch_size": 4, "seed": 3, **options})


class Recorder(L.LightningModule):
    """Records the samples of each training batch, and those of the validation."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, int, list[int]]] = []
        self.validated: list[int] = []

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, index, batch.label_B.tolist()))
        return self.layer(batch.label_B[:, None].float()).mean()

    def validation_step(self, batch, index):
        self.validated += batch.label_B.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
