"""A map-style data set that delivers whole batches of event lists, gathered without a loop over samples."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch.utils.data import Dataset

from ..events import Batch, SpikeEvents
from .event_arrays import NEURON_TYPE, EventArrays


class EventDataset(Dataset[Batch]):
    """Samples of an :class:`EventArrays`, all of them or a part, which share its memory.

    A DataLoader that batches its indices calls ``__getitems__`` once for each batch, so the collate function has
    nothing left to do. Under ``spawn`` a mapped file is opened again in each worker instead of being copied.

    Args:
        arrays: the events and labels.
        time_steps: T, the length of the window in steps.
        shape: the shape of the input, for example ``(2, 34, 34)``.
        rows_S: which samples of ``arrays`` belong to this data set; all of them by default.
        target_TSN: 0/1 target spike trains of the samples of ``arrays``, in a task that has them.
    """

    def __init__(
        self,
        arrays: EventArrays,
        time_steps: int,
        shape: tuple[int, ...],
        rows_S: np.ndarray | None = None,
        target_TSN: torch.Tensor | None = None,
    ) -> None:
        assert arrays.steps_E.max(initial=0) < time_steps
        assert arrays.neurons_E.max(initial=0) < prod(shape) <= np.iinfo(NEURON_TYPE).max + 1
        self.arrays = arrays
        self.time_steps = time_steps
        self.shape = shape
        self.rows_S = np.arange(len(arrays)) if rows_S is None else rows_S
        self.target_TSN = target_TSN

    def __len__(self) -> int:
        return len(self.rows_S)

    def __getitem__(self, index: int) -> Batch:
        """A batch of one sample."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The samples at the given positions as one batch."""
        rows_B = self.rows_S[np.asarray(indices, dtype=np.int64)]
        steps, neurons, offsets = (torch.from_numpy(array) for array in self.arrays.gather(rows_B))
        events = SpikeEvents(steps, neurons, offsets, self.time_steps, self.shape)
        label_B = torch.from_numpy(self.arrays.label_S[rows_B].astype(np.int64))
        target_TBN = None if self.target_TSN is None else self.target_TSN[:, torch.from_numpy(rows_B)]
        return Batch(events, label_B, target_TBN)

    def subset(self, positions: np.ndarray) -> EventDataset:
        """The samples at the given positions, as a data set that shares the arrays."""
        return EventDataset(self.arrays, self.time_steps, self.shape, self.rows_S[positions], self.target_TSN)

    def checksum(self) -> int:
        """CRC-32 of the events, the labels, the choice of samples and the targets: the same on every machine."""
        value = zlib.crc32(self.rows_S.astype(np.int64).data, self.arrays.checksum)
        if self.target_TSN is not None:
            value = zlib.crc32(np.ascontiguousarray(self.target_TSN.numpy()).data, value)
        return value
