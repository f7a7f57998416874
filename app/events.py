"""Spikes of a batch as event lists: what data modules deliver and event-driven kernels read.

Shape suffixes used throughout the project: T time steps, B samples of a batch, N (post-synaptic) neurons of a layer,
M pre-synaptic neurons, E events. Time is always counted in steps, from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(eq=False)
class SpikeEvents:
    """The spikes of B samples, one list after the other, sorted by step within a sample, without duplicates.

    Args:
        steps_E: int32, the time step of each spike, 0 <= step < time_steps.
        neurons_E: int32, the flat index of the spiking neuron (row-major in ``shape``).
        offsets_B1: int64 of length B + 1; sample b owns the events ``offsets_B1[b]:offsets_B1[b + 1]``.
        time_steps: T, the length of the window in steps.
        shape: the layer's shape, for example ``(784,)`` or ``(2, 34, 34)``.
    """

    steps_E: Tensor
    neurons_E: Tensor
    offsets_B1: Tensor
    time_steps: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        kinds = {"steps_E": torch.int32, "neurons_E": torch.int32, "offsets_B1": torch.int64}
        for name, kind in kinds.items():
            values = getattr(self, name)
            if not isinstance(values, Tensor) or values.dtype != kind or values.dim() != 1:
                wanted = str(kind).removeprefix("torch.")
                raise ValueError(f"SpikeEvents: {name} must be a tensor of {wanted} with one axis")
        if len(self.steps_E) != len(self.neurons_E):
            raise ValueError(
                f"SpikeEvents: steps_E has {len(self.steps_E)} and neurons_E {len(self.neurons_E)} events: give as many"
            )
        if not len(self.offsets_B1):
            raise ValueError("SpikeEvents: offsets_B1 is empty; it has one entry more than there are samples")

    def check(self) -> None:
        """Refuse events that are not what the arguments say.

        On an accelerator, which would have to be waited for, numbers out of range stop the device itself; what cannot
        lead anywhere else - the order, an event that is there twice - is left.

        Raises:
            ValueError: what is wrong, and where.
        """
        if self.device.type != "cpu":
            ranges = ((self.steps_E, self.time_steps), (self.neurons_E, prod(self.shape)))
            inside = [((values >= 0) & (values < end)).all() for values, end in ranges]
            torch._assert_async(inside[0] & inside[1], "SpikeEvents: a step or neuron is out of range")
            return
        self.check_offsets()
        for name, values, end in (
            ("steps_E", self.steps_E, self.time_steps),
            ("neurons_E", self.neurons_E, prod(self.shape)),
        ):
            if len(values) and not (int(values.min()) >= 0 and int(values.max()) < end):
                raise ValueError(f"SpikeEvents: {name} must hold numbers from 0 to {end - 1}")
        places_E = self.samples_E() * self.time_steps + self.steps_E
        if not bool((places_E.diff() >= 0).all()):
            raise ValueError("SpikeEvents: the events of each sample must be sorted by step")
        if len((places_E * prod(self.shape) + self.neurons_E).unique()) < len(places_E):
            raise ValueError("SpikeEvents: an event is there twice; a neuron fires at most once in a step")

    def check_offsets(self) -> None:
        """The first part of :meth:`check`, which takes no time: the offsets stay within the events."""
        offsets = self.offsets_B1
        whole = int(offsets[0]) == 0 and int(offsets[-1]) == len(self.steps_E) and bool((offsets.diff() >= 0).all())
        if not whole:
            raise ValueError(f"SpikeEvents: offsets_B1 must rise from 0 to the number of events, {len(self.steps_E)}")

    def reshaped(self, shape: tuple[int, ...]) -> SpikeEvents:
        """The same events of a layer whose neurons, row by row, have another shape of as many neurons."""
        if prod(shape) != prod(self.shape):
            raise ValueError(f"SpikeEvents of shape {self.shape} cannot take the shape {shape}")
        return SpikeEvents(self.steps_E, self.neurons_E, self.offsets_B1, self.time_steps, shape)

    def part(self, samples: slice) -> SpikeEvents:
        """The events of some consecutive samples."""
        start, end, _ = samples.indices(self.batch_size)
        offsets = self.offsets_B1[start : end + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        return SpikeEvents(
            self.steps_E[inside], self.neurons_E[inside], offsets - offsets[0], self.time_steps, self.shape
        )

    @property
    def batch_size(self) -> int:
        """B, the number of samples."""
        return len(self.offsets_B1) - 1

    @property
    def device(self) -> torch.device:
        """Where the events are stored."""
        return self.steps_E.device

    def to(self, *args: Any, **kwargs: Any) -> SpikeEvents:
        """The same events on another device (Lightning moves batches through this); pinned ones without waiting."""
        if len(args) < 3:
            kwargs.setdefault("non_blocking", self.steps_E.is_pinned())
        return self._each(lambda values: values.to(*args, **kwargs))

    def pin_memory(self) -> SpikeEvents:
        """The same events in page-locked memory, from which a GPU fetches them by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> SpikeEvents:
        steps_E, neurons_E, offsets_B1 = map(change, (self.steps_E, self.neurons_E, self.offsets_B1))
        return SpikeEvents(steps_E, neurons_E, offsets_B1, self.time_steps, self.shape)

    def samples_E(self) -> Tensor:
        """int64, the sample that each event belongs to."""
        return torch.repeat_interleave(
            torch.arange(self.batch_size, device=self.device), self.offsets_B1.diff(), output_size=len(self.steps_E)
        )

    def to_dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Time-major 0/1 spikes of shape [T, B, *shape]."""
        neurons = prod(self.shape)
        dense = torch.zeros(self.time_steps * self.batch_size * neurons, dtype=dtype, device=self.device)
        flat_E = (self.steps_E.long() * self.batch_size + self.samples_E()) * neurons + self.neurons_E.long()
        dense.index_fill_(0, flat_E, 1)
        return dense.view(self.time_steps, self.batch_size, *self.shape)

    @classmethod
    def from_dense(cls, spikes_TBN: Tensor) -> SpikeEvents:
        """Event lists of time-major 0/1 spikes of shape [T, B, *shape]."""
        shape = tuple(spikes_TBN.shape[2:])
        samples, steps, neurons = spikes_TBN.flatten(2).transpose(0, 1).nonzero(as_tuple=True)
        counts_B = torch.bincount(samples, minlength=spikes_TBN.shape[1])
        offsets_B1 = torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])
        return cls(steps.int(), neurons.int(), offsets_B1, spikes_TBN.shape[0], shape)


class Batch(NamedTuple):
    """What every data module delivers: input spikes with labels, or with target spike trains.

    Args:
        events: the input spikes.
        label_B: int64 class labels; zeros in a task that has none.
        target_TBN: 0/1 target spike trains, only in the spike-train matching task.
    """

    events: SpikeEvents
    label_B: Tensor
    target_TBN: Tensor | None = None

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        target_TBN = None if self.target_TBN is None else self.target_TBN.pin_memory()
        return Batch(self.events.pin_memory(), self.label_B.pin_memory(), target_TBN)
