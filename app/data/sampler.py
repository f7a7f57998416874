"""Which samples make which batch: a function of seed, epoch, rank and position, never of workers or global RNG.

A training batch carries its key, from which whatever else is random about it follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.utils.data import Sampler

from ..seeds import torch_generator


@dataclass
class Position:
    """How far training has come in the data.

    Args:
        epoch: counts passes over the data, from 0.
        batches: how many batches of this epoch were delivered.
        resumed: True between the restoring of a checkpoint and the next pass.
    """

    epoch: int = 0
    batches: int = 0
    resumed: bool = False

    def start_pass(self, epoch_batches: int) -> None:
        """Move to where a new pass starts: inside the epoch only if it was restored there and is unfinished."""
        unfinished = self.resumed and self.batches < epoch_batches
        if self.batches and not unfinished:
            self.epoch, self.batches = self.epoch + 1, 0
        self.resumed = False


class KeyedIndices(list[int]):
    """The samples of a training batch.

    Args:
        indices: positions in the data set.
        key: what makes the batch unique: seed, epoch, position in the epoch, rank.
    """

    def __init__(self, indices: list[int], key: tuple[int, int, int, int]) -> None:
        super().__init__(indices)
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[list[int], tuple[int, int, int, int]]]:
        return KeyedIndices, (list(self), self.key)


class TrainingBatches(Sampler[KeyedIndices]):
    """Shuffled batches; the order is f(seed, epoch), rank r of w takes every w-th sample of it.

    On one process nothing is dropped and the last batch may be smaller. On w processes the last ``samples % w`` of the
    shuffled order are left out in this epoch, so that all ranks run equally many batches of equal size.
    It has no ``set_epoch`` on purpose: Lightning must not move the epoch, :class:`Position` owns it.

    Args:
        samples: the number of samples in the data set.
        batch_size: B on each rank.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches in a whole epoch, wherever the next pass starts."""
        return -(-(self.samples // self.world_size) // self.batch_size)

    def order(self) -> list[int]:
        """The samples of this rank in this epoch."""
        shuffled = torch.randperm(self.samples, generator=torch_generator(self.seed, "order", self.epoch)).tolist()
        return shuffled[: self.samples - self.samples % self.world_size][self.rank :: self.world_size]

    def __iter__(self) -> Iterator[KeyedIndices]:
        order, epoch = self.order(), self.epoch
        for batch in range(self.first_batch, len(self)):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield KeyedIndices(indices, (self.seed, epoch, batch, self.rank))


class EvaluationBatches(Sampler[list[int]]):
    """All samples in their order, each exactly once over all ranks: rank r of w takes samples r, r + w, r + 2w, ...

    The shares may differ by one sample. Each is cut into nearly equal batches, equally many on every rank, so that
    operations which meet all ranks in each batch do not wait for ever (impossible only for ``batch_size`` 1).

    Args:
        samples: the number of samples in the data set.
        batch_size: the largest batch.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, samples: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.share = range(samples)[rank::world_size]
        largest_share = -(-samples // world_size)
        self.batches = min(-(-largest_share // batch_size), len(self.share))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        bounds = [len(self.share) * batch // self.batches for batch in range(self.batches + 1)]
        for start, end in pairwise(bounds):
            yield list(self.share[start:end])
