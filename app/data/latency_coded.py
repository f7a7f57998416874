"""What tasks of latency-coded images share: the limits of the code, and what they rule out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..errors import UserError
from ..settings import setting
from .encoding import encode_latency
from .event_dataset import EventDataset
from .task import Task


@dataclass(frozen=True)
class LatencyCoded(Task):
    """Images whose pixels fire once, the brighter the earlier, and never if they are black.

    Attributes:
        full_intensity: the largest value of a pixel.
    """

    full_intensity: ClassVar[int]

    latency_min_steps: int = setting(0, "step at which the brightest pixel fires", ge=0)
    latency_max_steps: int = setting(24, "step at which the darkest pixel that fires would fire", ge=0)

    def problems(self, config: Any) -> Iterator[str]:
        """Limits out of order or beyond the window."""
        if self.latency_min_steps > self.latency_max_steps:
            yield (
                f"data.latency_min_steps={self.latency_min_steps} is larger than "
                f"data.latency_max_steps={self.latency_max_steps}: bright pixels fire first, so lower the former"
            )
        if self.latency_max_steps >= config.time_steps:
            yield (
                f"data.latency_max_steps={self.latency_max_steps} is past the last of time_steps={config.time_steps}; "
                "lower it or raise time_steps"
            )

    def from_images(self, images_SHW: np.ndarray, full_intensity: float | None, time_steps: int) -> EventDataset:
        """Grey images of one's own as events; bright strokes on black, as the task's.

        Args:
            images_SHW: samples; the other axes hold as many pixels as the input has, row by row.
            full_intensity: the value of a pixel that is as bright as can be. By default 1 for numbers with a fraction
                and truth values, 255 for whole numbers. Values are rounded to the task's own levels.
            time_steps: T.

        Raises:
            UserError: another number of pixels, or values outside 0 … ``full_intensity``.
        """
        images_SN = images_SHW.reshape(len(images_SHW), -1)
        pixels = prod(self.input_shape)
        if images_SN.shape[1] != pixels:
            shapes = ["x".join(map(str, shape)) for shape in (images_SHW.shape[1:], self.input_shape[1:])]
            raise UserError(f"images of {shapes[0]} pixels do not fit the input of {shapes[1]}; scale them to that")
        if full_intensity is None:
            full_intensity = 255 if np.issubdtype(images_SN.dtype, np.integer) else 1
        if not (images_SN.min() >= 0 and images_SN.max() <= full_intensity):
            raise UserError(
                f"images hold values from {images_SN.min():g} to {images_SN.max():g}, but full_intensity is "
                f"{full_intensity:g}; give full_intensity=, the value of the brightest pixel that can be"
            )
        levels_SN = np.rint(images_SN * (self.full_intensity / full_intensity)).astype(np.int64)
        return self.encoded(levels_SN, np.zeros(len(levels_SN)), time_steps)

    def encoded(self, images_SN: np.ndarray, label_S: np.ndarray, time_steps: int) -> EventDataset:
        """The images, one row each, as events."""
        limits = (self.latency_min_steps, self.latency_max_steps)
        arrays = encode_latency(images_SN, label_S, self.full_intensity, *limits)
        return EventDataset(arrays, time_steps, self.input_shape)
