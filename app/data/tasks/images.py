"""Images of one's own: a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...settings import setting
from ..coded import Coded
from ..event_arrays import EventArrays
from ..folders import Sample, find_samples
from ..task import TASKS

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@TASKS.register("images")
@dataclass(frozen=True)
class Images(Coded):
    """Files ``path/CLASS/FILE``, or ``path/train/CLASS/FILE`` and ``path/test/CLASS/FILE``; classes in order of names.

    Pixels are grey, or red, green and blue as three channels; all images have the size of the first unless
    ``image_size`` scales them.
    """

    path: str | None = setting(None, "the .npz file, or the folder, of the samples")
    image_size: int | None = setting(None, "rows and columns to which images are scaled; null = as they are", ge=1)
    colour: bool = setting(False, "three channels instead of grey")

    @property
    def source(self) -> str:
        """The folder."""
        return f"data.path = {self.path}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, and the size of the first image."""
        return self._pixels(next(iter(self._files.values()))[0].path).shape

    @property
    def num_classes(self) -> int:
        """The folders."""
        return 1 + max(sample.label for samples in self._files.values() for sample in samples)

    def has_test_split(self) -> bool:
        """Whether there is a folder ``test`` beside ``train``."""
        return "test" in self._files

    def events_of(self, split: str, time_steps: int) -> EventArrays:
        """The coded images."""
        samples, shape = self._files[split], self.input_shape
        images_SN = np.stack([self._checked(sample, shape).reshape(-1) for sample in samples])
        return self.coded(images_SN, _labels(samples), time_steps, split)

    @cached_property
    def _files(self) -> dict[str, list[Sample]]:
        return find_samples(self.path, "images", SUFFIXES)

    def _checked(self, sample: Sample, shape: tuple[int, ...]) -> np.ndarray:
        pixels = self._pixels(sample.path)
        if pixels.shape != shape:
            sizes = ["x".join(map(str, one[1:])) for one in (pixels.shape, shape)]
            raise UserError(
                f"{sample.path} has {sizes[0]} pixels, others {sizes[1]}: set data.image_size to scale all."
            )
        return pixels

    def _pixels(self, path: Path) -> np.ndarray:
        """The bytes, [channels, rows, columns]."""
        from PIL import Image

        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB" if self.colour else "L")
                if self.image_size is not None:
                    image = image.resize((self.image_size, self.image_size))
                return np.atleast_3d(np.asarray(image, np.uint8)).transpose(2, 0, 1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} is no image that can be read ({error}): replace it or move it away.") from None


def _labels(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([sample.label for sample in samples])
