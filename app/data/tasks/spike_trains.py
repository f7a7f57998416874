"""Spike-train matching: a fixed random input whose random target output has to be learnt (SPEC section 4, table A1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Self

import torch

from ...seeds import torch_generator
from ...settings import setting
from ..event_arrays import EventArrays
from ..event_dataset import EventDataset
from ..task import TASKS, Task

MOST_INPUTS = 2**16


@TASKS.register("spike_trains")
@dataclass(frozen=True)
class SpikeTrains(Task):
    """One sample: in each step each input spikes with a fixed probability, and so does each target output.

    Training, validation and test sample are this same one: the task is to fit it, there is nothing to generalise to.
    The sizes and rates are choices of this project (SPEC gives none). The seed decides the spikes, in a stream of its
    own: they have nothing to do with the network's first weights.

    Args:
        inputs: number of input neurons; follows from the network in a run.
        outputs: number of output neurons; follows from the network in a run.
    """

    from_seed: ClassVar[bool] = True
    has_labels: ClassVar[bool] = False
    usual_network: ClassVar[tuple[str, ...]] = ("100", "fc100", "fc10")
    usual_loss: ClassVar[str | None] = "spike_train"

    input_rate: float = setting(0.05, "spike probability per step of each input train", gt=0, le=1)
    target_rate: float = setting(0.02, "spike probability per step of each target train", gt=0, le=1)
    inputs: int = 100
    outputs: int = 10

    @property
    def input_shape(self) -> tuple[int, ...]:
        """A row of inputs."""
        return (self.inputs,)

    @property
    def num_classes(self) -> int:
        """One target train for each output neuron."""
        return self.outputs

    def sized(self, input_shape: tuple[int, ...], outputs: int) -> Self:
        """As many trains as the network has inputs and outputs."""
        return replace(self, inputs=prod(input_shape), outputs=outputs)

    def problems(self, config: Any) -> Iterator[str]:
        """More inputs than an event can name."""
        if not 1 <= self.inputs <= MOST_INPUTS or self.outputs < 1:
            yield (
                f"task=spike_trains cannot have {self.inputs} inputs and {self.outputs} outputs: give network= 1 to "
                f"{MOST_INPUTS} inputs and at least one output"
            )

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """The one sample, twice."""
        sample = self.load_test(time_steps, seed)
        return sample, sample

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """The one sample."""
        generator = torch_generator(seed, "task")
        input_STN = torch.rand(1, time_steps, self.inputs, generator=generator) < self.input_rate
        target_TSN = (torch.rand(time_steps, 1, self.outputs, generator=generator) < self.target_rate).float()
        arrays = EventArrays.from_dense(input_STN.numpy())
        return EventDataset(arrays, time_steps, self.input_shape, target_TSN=target_TSN)
