"""Spike-train matching: a fixed random input whose random target output has to be learnt (SPEC section 4, table A1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .base import EventDataModule
from .checks import check_range, check_rate
from .event_arrays import NEURON_TYPE, STEP_TYPE, EventArrays
from .event_dataset import EventDataset

MOST_INPUTS = 2**16


class SpikeTrainsDataModule(EventDataModule):
    """One sample: in each step each input spikes with a fixed probability, and so does each target output.

    Training, validation and test sample are this same one: the task is to fit it, there is nothing to generalise to.
    The sizes and rates are choices of this project (SPEC gives none). ``seed`` decides the spikes.

    Args:
        inputs: number of input neurons.
        outputs: number of output neurons.
        time_steps: T, the length of the window in steps.
        input_rate: probability of an input spike per step.
        target_rate: probability of a target spike per step.
        **loading: see :class:`EventDataModule`.
    """

    def __init__(
        self,
        *,
        time_steps: int = 100,
        inputs: int = 100,
        outputs: int = 10,
        input_rate: float = 0.05,
        target_rate: float = 0.05,
        **loading: Any,
    ) -> None:
        super().__init__(time_steps=time_steps, **loading)
        check_range("data.inputs", inputs, 1, MOST_INPUTS)
        check_range("data.outputs", outputs, 1)
        check_rate("data.input_rate", input_rate)
        check_rate("data.target_rate", target_rate)
        self.input_rate, self.target_rate = input_rate, target_rate
        self.input_shape = (inputs,)
        self.num_classes = outputs

    def load_train_val(self) -> tuple[EventDataset, EventDataset]:
        """The one sample, twice."""
        sample = self._sample()
        return sample, sample

    def load_test(self) -> EventDataset:
        """The one sample."""
        return self._sample()

    def _sample(self) -> EventDataset:
        generator = torch.Generator().manual_seed(self.seed)
        input_TN = torch.rand(self.time_steps, *self.input_shape, generator=generator) < self.input_rate
        target_TBN = (torch.rand(self.time_steps, 1, self.num_classes, generator=generator) < self.target_rate).float()
        steps_E, neurons_E = input_TN.numpy().nonzero()
        arrays = EventArrays(
            steps_E.astype(STEP_TYPE), neurons_E.astype(NEURON_TYPE), np.array([0, len(steps_E)]), np.zeros(1, np.uint8)
        )
        return EventDataset(arrays, self.time_steps, self.input_shape, target_TSN=target_TBN)
