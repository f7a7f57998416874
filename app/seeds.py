"""Random numbers by purpose: one seed, a stream of its own for each thing that is random about a run.

What shares a stream is not independent: when the random task and the first weights were drawn from the same one, an
input fired exactly where a weight was among the lowest. Streams are told apart by
:class:`numpy.random.SeedSequence`, whose children do not overlap.

``weights``, ``split``, ``order``, ``landscape`` and ``augmentation`` keep the numbers that they always had: published
runs repeat themselves, and a run goes on from an old checkpoint with the samples and the order on which it was trained.
Some of these begin alike, which is harmless: a permutation of samples knows nothing of a weight. What draws spikes or
anything else that meets the weights as numbers must be one of ``CHILDREN``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

CHILDREN = {"task": 0, "recurrent": 1, "delays": 2}
"""The place of each purpose among the children of a seed: never to be changed, or the numbers of every seed are."""
KEPT: dict[str, Callable[..., int]] = {
    "weights": lambda seed: seed,
    "split": lambda seed: seed,
    "landscape": lambda seed: seed,
    "order": lambda seed, epoch: (seed * 1_000_003 + epoch) & (2**63 - 1),
}
Purpose = Literal["weights", "task", "recurrent", "delays", "split", "landscape", "order"]


def torch_generator(seed: int, purpose: Purpose, *index: int) -> torch.Generator:
    """A generator on the CPU that stands at the beginning of a stream.

    Args:
        seed: of the run.
        purpose: what is drawn.
        index: which part of it, such as the epoch of ``order``.

    Examples:
        >>> one, other = (torch_generator(0, purpose) for purpose in ("task", "weights"))
        >>> torch.rand(1, generator=one) == torch.rand(1, generator=other)
        tensor([False])
    """
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *index))


def stream_seed(seed: int, purpose: Purpose, *index: int) -> int:
    """The integer that starts a stream: a function of its arguments alone, on every machine."""
    if purpose in KEPT:
        return KEPT[purpose](seed, *index)
    sequence = np.random.SeedSequence(seed, spawn_key=(CHILDREN[purpose], *index))
    return int(sequence.generate_state(1, np.uint64)[0])


def augmentation_rng(batch: tuple[int, int, int, int]) -> np.random.Generator:
    """What changes the samples of a training batch, told by seed, epoch, place in the epoch and rank."""
    return np.random.default_rng(batch)
