"""Latency-coded MNIST (SPEC section 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from .base import EventDataModule, Split
from .encoding import check_latency, encode_latency
from .event_arrays import EventArrays
from .event_dataset import EventDataset
from .idx import read_idx
from .mnist_files import download_files, find_files
from .split import split_train_val

FULL_INTENSITY = 255
IMAGE_SHAPE = (28, 28)


class MNISTDataModule(EventDataModule):
    """MNIST: a pixel of intensity x fires once, at t = trunc(max - (max - min) x), and never if x = 0.

    Files are looked for in ``root/MNIST/raw``, ``root/raw`` and ``root``, else downloaded into the first.
    The 60,000 training images are divided into training and validation by ``seed``.
    Source: Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST database of handwritten digits.

    Args:
        root: the folder that holds, or will hold, the data.
        val_samples: size of the validation split.
        latency_min_steps: the step of a pixel of full intensity.
        latency_max_steps: the limit of the step for intensity towards 0.
        time_steps: T, the length of the window in steps.
        **loading: see :class:`EventDataModule`.
    """

    input_shape = (1, 28, 28)
    num_classes = 10

    def __init__(
        self,
        root: str | Path,
        *,
        time_steps: int = 100,
        val_samples: int = 10_000,
        latency_min_steps: int = 0,
        latency_max_steps: int = 24,
        **loading: Any,
    ) -> None:
        super().__init__(time_steps=time_steps, **loading)
        check_latency(FULL_INTENSITY, latency_min_steps, latency_max_steps, time_steps)
        self.root = Path(root).expanduser()
        self.val_samples = val_samples
        self.latency_steps = (latency_min_steps, latency_max_steps)

    def prepare(self, split: Split) -> None:
        """Download the two files of the split unless they are there."""
        if find_files(self.root, split) is None:
            download_files(self.root, split)

    def load_train_val(self) -> tuple[EventDataset, EventDataset]:
        """The training images, divided by the seed."""
        arrays = self._load("train")
        train, val = split_train_val(len(arrays), self.val_samples, self.seed, f"data.root = {self.root}")
        dataset = EventDataset(arrays, self.time_steps, self.input_shape)
        return dataset.subset(train), dataset.subset(val)

    def load_test(self) -> EventDataset:
        """The 10,000 test images."""
        return EventDataset(self._load("test"), self.time_steps, self.input_shape)

    def _load(self, split: Split) -> EventArrays:
        self.prepare(split)
        files = find_files(self.root, split)
        assert files is not None
        images, labels = read_idx(files[0], IMAGE_SHAPE), read_idx(files[1], ())
        if len(images) != len(labels):
            raise UserError(
                f"{files[0]} has {len(images)} images but {files[1]} has {len(labels)} labels: "
                "they belong to different data sets; replace both."
            )
        if labels.max() >= self.num_classes:
            raise UserError(f"{files[1]} has the label {labels.max()}, beyond 0..9: replace it by MNIST's label file.")
        return encode_latency(images.reshape(len(images), -1), labels, FULL_INTENSITY, *self.latency_steps)
