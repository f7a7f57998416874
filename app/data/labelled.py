"""What tasks of one's own data share: sizes that are read from the data, test samples, a network that fits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from ..errors import UserError
from ..settings import setting
from .event_arrays import NEURON_TYPE, EventArrays
from .event_dataset import EventDataset
from .split import split_train_val
from .task import Task

VAL_SHARE = 6
TEST_SHARE, TEST_SEED = 0.2, 0
MOST_INPUTS, MOST_CLASSES = np.iinfo(NEURON_TYPE).max + 1, 256


@dataclass(frozen=True)
class Labelled(Task):
    """Samples with labels from a source that may bring a test split.

    Without one, a fifth of the samples, alike in labels and whatever the seed, is the test split. A sixth of the
    training samples, drawn by the seed, is for validation unless ``val_samples`` says otherwise. The usual network has
    one hidden layer of 200 neurons.
    """

    is_sized_by_data: ClassVar[bool] = True

    val_samples: int | None = setting(None, "training samples held out for validation", ge=1)

    @property
    def usual_network(self) -> tuple[str, ...]:
        """A hidden layer between as many inputs and outputs as the data have."""
        return (str(prod(self.input_shape)), "fc200", f"fc{self.num_classes}")

    @property
    @abstractmethod
    def source(self) -> str:
        """The key and the value that name the data, for messages."""

    @abstractmethod
    def has_test_split(self) -> bool:
        """Whether the source brings test samples of its own."""

    @abstractmethod
    def events_of(self, split: str, time_steps: int) -> EventArrays:
        """The samples of ``train`` or ``test``; of ``all`` where the source has no test split."""

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """The training samples, divided by the seed."""
        dataset = self._samples("train", time_steps)
        val_samples = max(len(dataset) // VAL_SHARE, 1) if self.val_samples is None else self.val_samples
        train, val = split_train_val(len(dataset), val_samples, seed, self.source)
        return dataset.subset(train), dataset.subset(val)

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """The test samples of the source, or the fixed share."""
        return self._samples("test", time_steps)

    def _samples(self, split: str, time_steps: int) -> EventDataset:
        self.check_sizes()
        if self.has_test_split():
            return EventDataset(self.events_of(split, time_steps), time_steps, self.input_shape)
        arrays = self.events_of("all", time_steps)
        return EventDataset(arrays, time_steps, self.input_shape, self._rows(arrays.label_S, split))

    def _rows(self, label_S: np.ndarray, split: str) -> np.ndarray:
        from sklearn.model_selection import train_test_split

        rows = np.arange(len(label_S))
        try:
            parts = train_test_split(rows, test_size=TEST_SHARE, random_state=TEST_SEED, stratify=label_S)
        except ValueError as error:
            raise UserError(
                f"{self.source} has no test split, and none can be drawn from its {len(rows)} samples ({error}): "
                "add samples, or a test split."
            ) from None
        return np.sort(parts[split == "test"])

    def check_sizes(self) -> None:
        """Refuse what an event cannot name.

        Raises:
            UserError: too many inputs or classes.
        """
        if not 1 <= prod(self.input_shape) <= MOST_INPUTS:
            shape = "x".join(map(str, self.input_shape))
            raise UserError(f"{self.source} has {shape} inputs: give 1 to {MOST_INPUTS}, for example smaller images.")
        if self.num_classes > MOST_CLASSES:
            raise UserError(f"{self.source} has {self.num_classes} classes: give at most {MOST_CLASSES}.")
