"""Latency-coded MNIST (SPEC section 4), and whatever else lies in files of its format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from ...errors import UserError
from ...settings import setting
from ..event_dataset import EventDataset
from ..idx import read_idx
from ..latency_coded import LatencyCoded
from ..mnist_files import MNIST_SOURCE, Source, download_files, find_files, find_labels
from ..split import split_train_val
from ..task import TASKS, Split

IMAGE_SHAPE = (28, 28)


@TASKS.register("mnist")
@dataclass(frozen=True)
class MNIST(LatencyCoded):
    """MNIST: a pixel of intensity x fires once, at t = trunc(max - (max - min) x), and never if x = 0.

    Files are looked for in ``root/MNIST/raw``, ``root/raw`` and ``root``, else downloaded into the first. The 60,000
    training images are divided into training and validation by the seed. EMNIST's files (letters, digits, …) in the
    same folders are read as well, with as many outputs as there are classes; labels that begin at 1, as those of the
    letters do, are counted from 0.
    Source: Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST database of handwritten digits.

    Args:
        outputs: number of output neurons; follows from the network in a run.
    """

    full_intensity: ClassVar[int] = 255
    input_shape: ClassVar[tuple[int, ...]] = (1, *IMAGE_SHAPE)
    num_classes: ClassVar[int] = 10
    usual_network: ClassVar[tuple[str, ...]] = ("784", "fc800", "fc10")
    source: ClassVar[Source] = MNIST_SOURCE

    root: str | Path = setting("data", "folder of the raw data sets")
    val_samples: int = setting(10_000, "training samples held out for validation", ge=1)
    outputs: int = 10

    @property
    def folder(self) -> Path:
        """The folder that holds, or will hold, the data."""
        return Path(self.root).expanduser()

    def sized(self, input_shape: tuple[int, ...], outputs: int) -> Self:
        """The task with as many classes as the network has outputs."""
        return replace(self, outputs=outputs)

    def prepare(self, split: Split, time_steps: int) -> None:
        """Download the two files of the split unless they are there."""
        if find_files(self.folder, split, self.source) is None:
            download_files(self.folder, split, self.source)

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """The training images, divided by the seed."""
        dataset = self._load("train", time_steps)
        train, val = split_train_val(len(dataset), self.val_samples, seed, f"data.root = {self.folder}")
        return dataset.subset(train), dataset.subset(val)

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """The test images, 10,000 in MNIST."""
        return self._load("test", time_steps)

    def _load(self, split: Split, time_steps: int) -> EventDataset:
        self.prepare(split, time_steps)
        files = find_files(self.folder, split, self.source)
        assert files is not None
        images, labels = read_idx(files[0], IMAGE_SHAPE), read_idx(files[1], ())
        if len(images) != len(labels):
            raise UserError(
                f"{files[0]} has {len(images)} images but {files[1]} has {len(labels)} labels: "
                "they belong to different data sets; replace both."
            )
        labels = self._from_zero(labels, files[1])
        if files[0].name.startswith("emnist"):
            images = images.transpose(0, 2, 1)  # EMNIST's files hold columns where MNIST's hold rows
        return self.encoded(images.reshape(len(images), -1), labels, time_steps)

    def _from_zero(self, label_S: np.ndarray, path: Path) -> np.ndarray:
        """Labels counted from 0; the training labels tell how those of both splits are counted."""
        first = 0 if not label_S.min() else self._first_label(path)
        if label_S.max() - first >= self.outputs:
            raise UserError(
                f"{path} has the label {label_S.max()}, beyond the {self.outputs} classes of the network: "
                f"end network= with fc{label_S.max() + 1 - first}, or replace the file if it is another data set's."
            )
        return label_S - first

    def _first_label(self, path: Path) -> int:
        training = find_labels(self.folder, "train", self.source)
        if training is None:
            raise UserError(
                f"{path} has no label 0, and the training labels that would tell whether classes are counted from 1 "
                f"are not in data.root = {self.folder}: put them there."
            )
        first = int(read_idx(training, ()).min() == 1)
        if first:
            from ...notice import warn  # needs Lightning, which reading a configuration does without

            warn(f"{path}: labels are counted from 1; class 1 is output 0")
        return first
