"""Random changes of training samples: events that are lost, come earlier or later, and images that are moved."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ..events import Batch, SpikeEvents
from ..seeds import augmentation_rng
from .event_dataset import EventDataset
from .sampler import KeyedIndices

STEP, SAMPLE, MASK = 16, 32, 0xFFFF
"""Where step and sample begin in the code of an event; steps and neurons have 16 bits."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to the events of training samples, in this order; all off by default.

    Args:
        event_dropout: probability that an event is lost.
        max_shift_pixels: each sample moves by uniform integers in [−k, k] along rows and columns, all its channels
            alike; events that leave the frame are lost. Needs an input of channels, rows and columns.
        time_jitter_steps: each event moves by a uniform integer in [−j, j] steps, but not out of the window; events
            that meet at the same neuron and step become one.
    """

    event_dropout: float = 0.0
    max_shift_pixels: int = 0
    time_jitter_steps: int = 0

    def __bool__(self) -> bool:
        return any(astuple(self))

    def __call__(self, events: SpikeEvents, rng: np.random.Generator) -> SpikeEvents:
        """Changed events, sorted by step within a sample and without duplicates."""
        codes_E = _encode(events)
        if self.event_dropout:
            codes_E = codes_E[rng.random(len(codes_E), np.float32) >= self.event_dropout]
        if self.max_shift_pixels:
            codes_E = self._shift(codes_E, events, rng)
        if self.time_jitter_steps:
            codes_E = self._jitter(codes_E, events.time_steps, rng)
        return _decode(codes_E, events)

    def _shift(self, codes_E: np.ndarray, events: SpikeEvents, rng: np.random.Generator) -> np.ndarray:
        """Equal shifts of all events of a sample keep them sorted and apart."""
        k, (height, width) = self.max_shift_pixels, events.shape[-2:]
        down_E, right_E = rng.integers(-k, k + 1, (2, events.batch_size))[:, codes_E >> SAMPLE]
        neurons_E = codes_E & MASK
        rows_E = neurons_E // width
        y_E, x_E = rows_E - rows_E // height * height + down_E, neurons_E - rows_E * width + right_E
        inside_E = (y_E >= 0) & (y_E < height) & (x_E >= 0) & (x_E < width)
        moved_E: np.ndarray = (codes_E + (down_E * width + right_E))[inside_E]
        return moved_E

    def _jitter(self, codes_E: np.ndarray, time_steps: int, rng: np.random.Generator) -> np.ndarray:
        j = self.time_jitter_steps
        moves_E = rng.integers(-j, j + 1, len(codes_E), np.int16)
        steps_E = codes_E >> STEP & MASK
        moved_E = np.minimum(np.maximum(steps_E + moves_E, 0), time_steps - 1)
        codes_E = codes_E + ((moved_E - steps_E) << STEP)
        codes_E.sort(kind="stable")  # the fastest on what is nearly sorted
        return np.concatenate([codes_E[:1], codes_E[1:][codes_E[1:] != codes_E[:-1]]])


def _encode(events: SpikeEvents) -> np.ndarray:
    """Each event as one integer, made of sample, step and neuron; ascending where events are sorted by all three."""
    samples_B = np.arange(events.batch_size, dtype=np.int64) << SAMPLE
    codes_E = np.repeat(samples_B, np.diff(events.offsets_B1.numpy()))  # samples_E() would wait for torch's threads
    codes_E |= events.steps_E.numpy() << STEP
    codes_E |= events.neurons_E.numpy()
    return codes_E


def _decode(codes_E: np.ndarray, events: SpikeEvents) -> SpikeEvents:
    """The events of a batch like ``events`` from their codes, which ascend from sample to sample."""
    steps_E, neurons_E = (codes_E >> STEP & MASK).astype(np.int32), (codes_E & MASK).astype(np.int32)
    starts_B1 = np.searchsorted(codes_E >> SAMPLE, np.arange(events.batch_size + 1))
    steps, neurons, offsets = map(torch.from_numpy, (steps_E, neurons_E, starts_B1))
    return SpikeEvents(steps, neurons, offsets, events.time_steps, events.shape)


class AugmentedDataset(Dataset[Batch]):
    """Training samples, changed anew whenever they are drawn.

    Args:
        dataset: the samples.
        augmentation: what happens to them.
    """

    def __init__(self, dataset: EventDataset, augmentation: Augmentation) -> None:
        self.dataset, self.augmentation = dataset, augmentation

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: KeyedIndices) -> Batch:
        """The samples at the given positions, changed by random numbers that the batch's key alone decides."""
        batch = self.dataset.__getitems__(indices)
        return batch._replace(events=self.augmentation(batch.events, augmentation_rng(indices.key)))
