"""Intensities as events: by latency or by rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from ..settings import setting
from .encoding import encode_latency
from .event_arrays import NEURON_TYPE, STEP_TYPE, EventArrays
from .labelled import Labelled

LEVELS = 2**16 - 1
"""Intensities that are no bytes are rounded to so many levels, more than a window has steps."""
RATE_SEEDS = {"train": 0, "test": 1, "all": 2}


@dataclass(frozen=True)
class Coded(Labelled):
    """Images, whose inputs fire once, the brighter the earlier, or at random, the brighter the more often."""

    coding: Literal["latency", "rate"] = setting(
        "latency", "images: one spike per pixel, the brighter the earlier, or random spikes, the brighter the more"
    )
    latency_min_steps: int = setting(0, "step at which the brightest pixel fires", ge=0)
    latency_max_steps: int = setting(24, "step at which the darkest pixel that fires would fire", ge=0)
    rate_max: float = setting(
        0.2, "spike probability per step of the brightest pixel; with data.coding=rate", gt=0, le=1
    )

    def problems(self, config: Any) -> Iterator[str]:
        """Limits of the latency out of order or beyond the window."""
        low, high = self.latency_min_steps, self.latency_max_steps
        if low > high:
            yield f"data.latency_min_steps={low} is larger than data.latency_max_steps={high}; lower the former"
        if self.coding == "latency" and high >= config.time_steps:
            yield f"data.latency_max_steps={high} is past the last of time_steps={config.time_steps}; lower it"

    def coded(self, images_SN: np.ndarray, label_S: np.ndarray, time_steps: int, split: str) -> EventArrays:
        """The events of images: bytes, or floating point numbers from 0 to 1, a row for each."""
        full = 255
        if images_SN.dtype != np.uint8:
            if not (images_SN.min(initial=0) >= 0 and images_SN.max(initial=0) <= 1):  # False for NaN as well
                raise UserError(
                    f"{self.source}: images must be bytes (uint8) or numbers from 0 to 1; divide them by their maximum."
                )
            images_SN, full = np.rint(np.float64(images_SN) * LEVELS).astype(np.int64), LEVELS
        if self.coding == "latency":
            return encode_latency(images_SN, label_S, full, self.latency_min_steps, self.latency_max_steps)
        return encode_rate(images_SN / full * self.rate_max, label_S, time_steps, RATE_SEEDS[split])


def encode_rate(probability_SN: np.ndarray, label_S: np.ndarray, time_steps: int, seed: int) -> EventArrays:
    """Spikes drawn once, in each step with the given probability."""
    rng = np.random.default_rng(seed)
    steps, neurons, counts = [], [], []
    for probability_N in probability_SN:
        step_E, neuron_E = np.nonzero(rng.random((time_steps, len(probability_N)), np.float32) < probability_N)
        steps.append(step_E.astype(STEP_TYPE))
        neurons.append(neuron_E.astype(NEURON_TYPE))
        counts.append(len(step_E))
    return joined(steps, neurons, label_S)


def joined(steps: list[np.ndarray], neurons: list[np.ndarray], label_S: np.ndarray) -> EventArrays:
    """One sample after the other."""
    return EventArrays(
        np.concatenate([np.zeros(0, STEP_TYPE), *steps]),
        np.concatenate([np.zeros(0, NEURON_TYPE), *neurons]),
        np.cumsum([0, *map(len, steps)], dtype=np.int64),
        np.asarray(label_S).astype(np.uint8),
    )
