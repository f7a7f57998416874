"""What a task is: a dataclass of its settings that delivers samples, known by its name in :data:`TASKS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from ..errors import UserError
from ..registry import Registry
from ..settings import check_settings
from .event_dataset import EventDataset

Split = Literal["train", "test"]
POLARITIES = ("OFF", "ON")
"""The channels of an event camera's input: darker, brighter."""


@dataclass(frozen=True)
class Task:
    """Where samples come from and what they look like; a task of one's own is a subclass in a file.

    Its fields are made by :func:`app.settings.setting` and appear under ``data.`` in the configuration.

    Attributes:
        input_shape: the shape of the input, (channels, rows, columns) for images; known without loading.
        num_classes: the number of output neurons that are needed; known without loading.
        from_seed: whether the samples themselves are made from the seed, and not only their order and split.
        has_labels: whether the task is a classification; if not, its data sets bring target trains.
        channel_names: what the channels of the input are called in pictures, if they have names.
        usual_network: the network without ``network=``.
        usual_time_steps: T without ``time_steps=``.
        usual_loss: the loss without ``loss=``; None leaves it to the rule.
        is_sized_by_data: whether shape, classes, usual network and window are properties, which may read the data.
    """

    input_shape: ClassVar[Any]
    num_classes: ClassVar[Any]
    from_seed: ClassVar[bool] = False
    has_labels: ClassVar[bool] = True
    channel_names: ClassVar[tuple[str, ...]] = ()
    usual_network: ClassVar[Any]
    usual_time_steps: ClassVar[Any] = 100
    usual_loss: ClassVar[str | None] = None
    is_sized_by_data: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

    def sized(self, input_shape: tuple[int, ...], outputs: int) -> Self:
        """The same task for a network of this input and so many outputs; most tasks do not depend on it."""
        return self

    def problems(self, config: Any) -> Iterator[str]:
        """What cannot work with ``config.time_steps``, a sentence each with the key and the remedy."""
        yield from ()

    def prepare(self, split: Split, time_steps: int) -> None:
        """Download and cache what a split needs; called on one process, and cheap when nothing is missing."""

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """The training and the validation samples; ``seed`` decides what is random about them."""
        raise NotImplementedError

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """The test samples."""
        raise NotImplementedError

    def from_images(self, images_SHW: np.ndarray, full_intensity: float | None, time_steps: int) -> EventDataset:
        """Grey images of one's own, coded as the task's are; see :meth:`app.data.latency_coded.LatencyCoded`.

        Raises:
            UserError: the task has no code for images.
        """
        raise UserError("this task does not code images; give recordings (.bin) or an .npz file with spikes")

    def from_recordings(self, paths: Sequence[Path], time_steps: int) -> EventDataset:
        """Files of an event camera, one sample each, coded as the task's are.

        Raises:
            UserError: a file is no recording, or the task has none.
        """
        raise UserError(f"{paths[0]}: this task has no recordings; .bin files are for task=nmnist")


TASKS: Registry[type[Task]] = Registry("task")
