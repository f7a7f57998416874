"""What a change of the weights did to spikes: created, removed, or shifted in time."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SpikeChanges(NamedTuple):
    """Numbers of spikes; ``kept`` stayed where they were."""

    kept: int
    created: int
    removed: int
    shifted: int

    def __add__(self, other: SpikeChanges) -> SpikeChanges:  # type: ignore[override]
        """The sum over layers."""
        return SpikeChanges(*(a + b for a, b in zip(self, other, strict=True)))


def spike_changes(before_TBN: Tensor, after_TBN: Tensor, window_steps: int = 5) -> SpikeChanges:
    """Match the spikes of the same neurons before and after.

    A spike that disappeared and one that appeared at most ``window_steps`` away, nearest ones first, are one spike that
    was shifted; the rest was removed or created.

    Args:
        before_TBN: 0/1 spikes.
        after_TBN: 0/1 spikes of the same neurons and samples.
        window_steps: how far a spike may shift and still be the same.
    """
    before, after = before_TBN.bool(), after_TBN.bool()
    kept = int((before & after).sum())
    gone, new = before & ~after, after & ~before
    shifted = 0
    for step in (sign * k for k in range(1, min(window_steps, len(before) - 1) + 1) for sign in (1, -1)):
        old, moved = (gone[:-step], new[step:]) if step > 0 else (gone[-step:], new[:step])
        match = old & moved
        shifted += int(match.sum())
        old &= ~match
        moved &= ~match
    return SpikeChanges(kept, int(new.sum()), int(gone.sum()), shifted)
