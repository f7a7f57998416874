"""What tasks of latency-coded images share: the limits of the code, and what they rule out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

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

    def encoded(self, images_SN: np.ndarray, label_S: np.ndarray, time_steps: int) -> EventDataset:
        """The images, one row each, as events."""
        limits = (self.latency_min_steps, self.latency_max_steps)
        arrays = encode_latency(images_SN, label_S, self.full_intensity, *limits)
        return EventDataset(arrays, time_steps, self.input_shape)
