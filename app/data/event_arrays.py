"""The spikes of a whole data set as compact flat arrays (CSR), in memory or mapped from a file.

Shape suffixes: S samples of the data set, B samples of a batch, E events; a suffix 1 is "plus one".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STEP_TYPE = np.dtype(np.int16)
NEURON_TYPE = np.dtype(np.uint16)


@dataclass(frozen=True)
class EventArrays:
    """One event list per sample, one list after the other, each sorted by step, then by neuron, without duplicates.

    Args:
        steps_E: int16, the time step of each event.
        neurons_E: uint16, the flat index of the input.
        offsets_S1: int64 of length S + 1; sample s owns the events ``offsets_S1[s]:offsets_S1[s + 1]``.
        label_S: uint8 class labels.
    """

    steps_E: np.ndarray
    neurons_E: np.ndarray
    offsets_S1: np.ndarray
    label_S: np.ndarray

    def __post_init__(self) -> None:
        assert self.steps_E.dtype == STEP_TYPE
        assert self.neurons_E.dtype == NEURON_TYPE
        assert len(self.offsets_S1) == len(self.label_S) + 1
        assert self.offsets_S1[-1] == len(self.steps_E) == len(self.neurons_E)

    @classmethod
    def from_dense(cls, spikes_STN: np.ndarray, label_S: np.ndarray | None = None) -> EventArrays:
        """The events of dense spikes.

        Args:
            spikes_STN: what is not 0 is a spike; axes behind the second are flattened.
            label_S: class labels from 0; all 0 by default.
        """
        samples_E, steps_E, neurons_E = spikes_STN.reshape(*spikes_STN.shape[:2], -1).nonzero()
        offsets_S1 = np.searchsorted(samples_E, np.arange(len(spikes_STN) + 1))
        labels = np.zeros(len(spikes_STN)) if label_S is None else np.asarray(label_S)
        return cls(steps_E.astype(STEP_TYPE), neurons_E.astype(NEURON_TYPE), offsets_S1, labels.astype(np.uint8))

    def __len__(self) -> int:
        return len(self.label_S)

    def gather(self, rows_B: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The events of the given samples as new int32 steps, int32 neurons and int64 offsets, without a loop."""
        starts_B = self.offsets_S1[rows_B]
        counts_B = self.offsets_S1[rows_B + 1] - starts_B
        offsets_B1 = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts_B)])
        events = np.arange(offsets_B1[-1]) + np.repeat(starts_B - offsets_B1[:-1], counts_B)
        return self.steps_E[events].astype(np.int32), self.neurons_E[events].astype(np.int32), offsets_B1

    @cached_property
    def checksum(self) -> int:
        """CRC-32 over the bytes of all four arrays."""
        value = 0
        for array in (self.offsets_S1, self.label_S, self.steps_E, self.neurons_E):
            value = zlib.crc32(np.ascontiguousarray(array).data, value)
        return value

    @cached_property
    def samples_sum(self) -> int:
        """The sum over samples of a hash of each, label and events: the same whatever the order of the samples."""
        ends = self.offsets_S1.tolist()
        steps, neurons = (np.ascontiguousarray(array).data for array in (self.steps_E, self.neurons_E))
        total = 0
        for label, start, end in zip(self.label_S.tolist(), ends, ends[1:], strict=False):
            digest = blake2b(bytes([label]), digest_size=8)
            digest.update(steps[start:end])
            digest.update(neurons[start:end])
            total += int.from_bytes(digest.digest(), "little")
        return total

    def __getstate__(self) -> dict[str, Any]:
        return {name: _forget_map(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: _recall_map(value) for name, value in state.items()})


class _FileRegion(NamedTuple):
    """Where a mapped array lies: what a worker process needs instead of a copy of its gigabytes."""

    path: Path
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]


def _forget_map(value: Any) -> Any:
    if isinstance(value, np.memmap):
        return _FileRegion(Path(str(value.filename)), value.dtype, value.offset, value.shape)
    return value


def _recall_map(value: Any) -> Any:
    if isinstance(value, _FileRegion):
        return np.memmap(value.path, value.dtype, "r", value.offset, value.shape)
    return value
