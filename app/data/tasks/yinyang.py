"""Yin-yang (Kriener, Göltz and Petrovici 2022): points of the plane in three classes, coded in spike times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...settings import setting
from ..encoding import encode_times
from ..event_dataset import EventDataset
from ..task import TASKS, Task

RADIUS, DOT_RADIUS = 0.5, 0.1
SAMPLES = {"train": 5000, "val": 1000, "test": 1000}
STREAMS = {"train": 42, "val": 41, "test": 40}
"""Seeds of the published sets; the points are drawn by another generator, hence alike in law and not in value."""


@TASKS.register("yinyang")
@dataclass(frozen=True)
class YinYang(Task):
    """Five inputs fire once each: x, y, 1 - x and 1 - y at step rint(first + (last - first) v), and a bias spike.

    5000, 1000 and 1000 points, the same whatever the seed and the window, a third of them of each class: 0 yin, 1 yang,
    2 the dots. A linear classifier reaches 64 %, a network of 30 hidden ReLUs 97.6 % (their table 1).
    Source: L. Kriener, J. Göltz and M. A. Petrovici, The Yin-Yang dataset, NICE 2022, arXiv 2102.08211.
    """

    input_shape: ClassVar[tuple[int, ...]] = (5,)
    num_classes: ClassVar[int] = 3
    usual_network: ClassVar[tuple[str, ...]] = ("5", "fc120", "fc3")
    usual_time_steps: ClassVar[int] = 100

    first_step: int = setting(0, "step at which an input of value 0 fires", ge=0)
    last_step: int = setting(50, "step at which an input of value 1 fires", ge=0)
    bias_step: int = setting(20, "step at which the bias input fires", ge=0)

    def problems(self, config: Any) -> Iterator[str]:
        """Steps out of order or beyond the window."""
        if self.first_step > self.last_step:
            yield f"data.first_step={self.first_step} is past data.last_step={self.last_step}: lower the former"
        for key in ("last_step", "bias_step"):
            if getattr(self, key) >= config.time_steps:
                yield (
                    f"data.{key}={getattr(self, key)} is past the last of time_steps={config.time_steps}; "
                    "lower it or raise time_steps"
                )

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """5000 and 1000 points."""
        return self._samples("train", time_steps), self._samples("val", time_steps)

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """1000 points."""
        return self._samples("test", time_steps)

    def _samples(self, part: str, time_steps: int) -> EventDataset:
        points_S2, label_S = draw_points(SAMPLES[part], STREAMS[part])
        value_S4 = np.concatenate([points_S2, 1 - points_S2], axis=1)
        steps_S4 = np.rint(self.first_step + (self.last_step - self.first_step) * value_S4)
        steps_S5 = np.concatenate([steps_S4, np.full((len(label_S), 1), self.bias_step)], axis=1)
        return EventDataset(encode_times(steps_S5.astype(np.int64), label_S), time_steps, self.input_shape)


def classes_of(points_S2: np.ndarray) -> np.ndarray:
    """0 yin, 1 yang, 2 dots, for points in the circle of radius 1/2 about (1/2, 1/2) (their section 2)."""
    x_S, y_S = points_S2.T
    right_S, left_S = np.hypot(x_S - 1.5 * RADIUS, y_S - RADIUS), np.hypot(x_S - 0.5 * RADIUS, y_S - RADIUS)
    is_dot_S = np.minimum(right_S, left_S) < DOT_RADIUS
    is_yin_S = (left_S <= RADIUS / 2) | ((y_S > RADIUS) & (right_S > RADIUS / 2))
    return np.where(is_dot_S, 2, np.where(is_yin_S, 0, 1))


def draw_points(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [samples, 2], uniform in each class, and their classes, which take turns."""
    rng = np.random.default_rng(seed)
    label_S = np.arange(samples) % 3
    points_S2 = np.empty((samples, 2))
    missing = np.arange(samples)
    while len(missing):
        drawn = rng.random((len(missing), 2)) * 2 * RADIUS
        is_right = (np.hypot(*(drawn - RADIUS).T) <= RADIUS) & (classes_of(drawn) == label_S[missing])
        points_S2[missing[is_right]] = drawn[is_right]
        missing = missing[~is_right]
    return points_S2, label_S
