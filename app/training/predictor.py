"""A trained network that answers: what class, how sure, when, and at the price of how many spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.event_arrays import EventArrays
from ..data.event_dataset import EventDataset
from ..data.task import Task
from ..errors import UserError
from ..events import SpikeEvents
from ..losses.latency import BETA_SOFTMAX, Latency
from ..network import Network, NetworkOutput
from ..readout import READOUTS, decision_steps, first_spike_steps
from .trained import Trained, load_trained

MOST_AT_ONCE = 256
"""Samples that the network hears at once."""


class Prediction(NamedTuple):
    """The answer to one sample.

    Args:
        label: the class; None when no output neuron fires.
        confidence: 0..1, of this class: for ``readout=first`` the softmax over z_j = β (T − t̂_j) of first-spike times,
            silent neurons with z_j = 0, and the latency loss's β (1 per step with other losses); for other readouts the
            share n_j / Σ n of the output spikes. Not calibrated. None without a class.
        time_to_decision_steps: for ``readout=first`` the step, from 0, of the first output spike; for others the last
            step of the window, which they wait for. None without a class.
        spikes: spikes of all layers up to and including that step; input spikes are not counted.
    """

    label: int | None
    confidence: float | None
    time_to_decision_steps: int | None
    spikes: int


@dataclass(frozen=True)
class Coding:
    """How samples become spikes: as in training, without augmentation.

    Args:
        task: what the network was trained on.
        time_steps: T.
    """

    task: Task
    time_steps: int

    def images(self, images: np.ndarray | Tensor, full_intensity: float | None = None) -> SpikeEvents:
        """Images [S, H, W], or one [H, W]; values 0..1, or whole numbers 0..255, or 0..``full_intensity``.

        Raises:
            UserError: what does not fit.
        """
        array = np.asarray(images)
        if array.dtype.kind not in "buif" or array.ndim < 2 or not array.size:
            raise UserError(
                f"images of shape {array.shape} and type {array.dtype}: give numbers [samples, rows, columns]"
            )
        array = array[None] if array.shape == self.task.input_shape[1:] else array
        return _all(self.task.from_images(array, full_intensity, self.time_steps))

    def recordings(self, paths: Sequence[Path | str]) -> SpikeEvents:
        """N-MNIST files.

        Raises:
            UserError: what is not one.
        """
        return _all(self.task.from_recordings([Path(path) for path in paths], self.time_steps))

    def spikes(self, spikes_STN: np.ndarray) -> SpikeEvents:
        """Input spikes [S, T, *inputs], 0 or 1.

        Raises:
            UserError: what does not fit.
        """
        array = np.asarray(spikes_STN)
        shape = self.task.input_shape
        inputs = int(np.prod(shape))
        if array.ndim < 3 or not len(array) or array.shape[1] != self.time_steps or array[0, 0].size != inputs:
            raise UserError(
                f"spikes of shape {array.shape} do not fit: give [samples, {self.time_steps} steps, {inputs} inputs]"
            )
        if array.dtype.kind not in "buif" or not np.isin(array, (0, 1)).all():
            raise UserError("spikes must be 0 or 1")
        return _all(EventDataset(EventArrays.from_dense(array), self.time_steps, shape))


def _all(dataset: EventDataset) -> SpikeEvents:
    return dataset.__getitems__(range(len(dataset))).events


class Predictor:
    """A trained network for a notebook::

        model = app.load("runs/digits-antlr-latency-s0")
        for answer in model.predict(images):
            print(answer.label, answer.confidence)

    Args:
        trained: what a checkpoint holds.

    Attributes:
        network: the network.
        labels: the classes, by output neuron.
        coding: how samples become input spikes.
        trained: settings, task and training module.

    Raises:
        UserError: the task has no classes.
    """

    def __init__(self, trained: Trained) -> None:
        if not trained.config.has_labels:
            raise UserError(f"{trained.path}: task={trained.config.task} has no classes; there is nothing to predict")
        self.trained = trained
        self.network: Network = trained.module.network.eval()
        self.labels = list(range(self.network.spiking[-1].shape[0]))
        self.coding = Coding(trained.data.task, trained.data.time_steps)
        loss = trained.config.component("loss")
        self._beta = loss.beta_softmax if isinstance(loss, Latency) else BETA_SOFTMAX

    def predict(
        self, samples: np.ndarray | Tensor | SpikeEvents, full_intensity: float | None = None
    ) -> list[Prediction]:
        """The answers to images (see :meth:`Coding.images`) or to input spikes as events.

        Raises:
            UserError: what does not fit.
        """
        events = samples if isinstance(samples, SpikeEvents) else self.coding.images(samples, full_intensity)
        answers = []
        for start in range(0, events.batch_size, MOST_AT_ONCE):
            answers += self.answers(self.run(events.part(slice(start, start + MOST_AT_ONCE))))
        return answers

    def run(self, events: SpikeEvents) -> NetworkOutput:
        """All spikes of the network, without gradient."""
        with torch.no_grad():
            output: NetworkOutput = self.network(events)
        return output

    def answers(self, output: NetworkOutput) -> list[Prediction]:
        """What the output of the network says about each sample."""
        readout = str(self.trained.config.readout)
        spikes_TBN = output.spikes_TBN.detach()
        steps = len(spikes_TBN)
        first_BN, counts_BN = first_spike_steps(spikes_TBN), spikes_TBN.sum(0)
        class_B = READOUTS[readout](first_BN, counts_BN)
        fired_B = counts_BN.sum(1) > 0
        if readout == "first":
            share_BN = (self._beta * (steps - first_BN).double()).softmax(1)
            step_B = decision_steps(spikes_TBN)
        else:
            share_BN = counts_BN.double() / counts_BN.sum(1, keepdim=True).clamp(min=1)
            step_B = torch.full_like(class_B, steps - 1)
        share_B = share_BN.gather(1, class_B[:, None])[:, 0]
        spikes_B = torch.stack([layer.count_until(step_B) for layer in output.layers]).sum(0)
        columns = (column.tolist() for column in (class_B, share_B, step_B, spikes_B, fired_B))
        return [
            Prediction(label, share, step, spikes) if fired else Prediction(None, None, None, spikes)
            for label, share, step, spikes, fired in zip(*columns, strict=True)
        ]


def load(path: str | Path, overrides: Sequence[str] = ()) -> Predictor:
    """The trained network of a checkpoint, ready to answer.

    Args:
        path: a checkpoint, or the folder of a run, of which the best one is taken.
        overrides: ``key=value`` arguments that change its settings.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    return Predictor(load_trained(path, overrides))
