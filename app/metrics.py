"""What a run reports: loss, accuracy, and the spikes that the accuracy costs.

All numbers are sums over samples kept in one torchmetrics ``Metric``: exact over batches of different size and over
processes, with one synchronisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from .activity import LayerActivity
from .network import NetworkOutput
from .readout import READOUTS, Readout, first_spike_steps

TOGETHER = 32
"""Training batches that are measured at once."""


class SpikeMetrics(Metric):
    """Loss, accuracies and spike counts of a split.

    ``compute`` returns, with L layers and C classes:

    - ``loss``: mean over samples;
    - ``accuracy_first``, ``accuracy_count``: share of samples whose label is the class that fires first, fires most,
      and so on for every other readout;
    - ``classC/accuracy_first``, …: the same among the samples of one class, if there are any;
    - ``spikes_per_sample``, ``layerL/spikes_per_sample``: spikes of all non-input neurons in the whole window;
    - ``decision_spikes``, ``layerL/decision_spikes``: of these, the ones up to and including the step of the sample's
      first output spike (all of them where no output neuron fires);
    - ``time_to_first_spike_steps``: step of the first output spike, T where there is none;
    - ``layerL/silent_share``: share of (sample, neuron) pairs without a spike;
    - ``layerL/dead_share``: share of neurons without a spike in any sample;
    - ``layerL/saturated_share``: share of (sample, neuron) pairs with a spike in more than half of the steps;
    - ``window_steps``: steps that a sample was counted in, only with ``shortens``; predictions by spike count and all
      numbers of spikes are those of this window.

    Args:
        layer_sizes: neurons of each spiking layer, first to last.
        classes: C, or 0 in a task without labels (no accuracies then).
        readouts: the predictions that are counted, by name; those that are registered by default.
        shortens: whether the outputs have a shortened window (:meth:`app.network.NetworkOutput.until_fired`).
    """

    full_state_update = False
    loss: Tensor
    samples: Tensor
    decision_steps: Tensor
    window_steps: Tensor
    spikes_L: Tensor
    decision_spikes_L: Tensor
    silent_L: Tensor
    saturated_L: Tensor
    support_C: Tensor

    def __init__(
        self,
        layer_sizes: list[int],
        classes: int,
        readouts: Mapping[str, Readout] | None = None,
        shortens: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.layer_sizes, self.classes = layer_sizes, classes
        self.readouts = dict(READOUTS if readouts is None else readouts)
        self._remembered: list[tuple[NetworkOutput, Tensor, Tensor]] = []
        self.add_state("loss", torch.zeros((), dtype=torch.float64), "sum")
        self.shortens = shortens
        for name in ("samples", "decision_steps", *(["window_steps"] if shortens else [])):
            self.add_state(name, torch.zeros((), dtype=torch.int64), "sum")
        for name in ("spikes_L", "decision_spikes_L", "silent_L", "saturated_L"):
            self.add_state(name, torch.zeros(len(layer_sizes), dtype=torch.int64), "sum")
        for name in ("support_C", *(f"correct_{readout}_C" for readout in self.readouts)):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), "sum")
        for k, size in enumerate(layer_sizes, 1):
            self.add_state(f"fired{k}_N", torch.zeros(size, dtype=torch.bool), "max")

    @torch.no_grad()
    def update(self, output: NetworkOutput, label_B: Tensor, loss_sums: Sequence[float | Tensor]) -> None:
        """Add samples; nothing here waits for a GPU.

        Args:
            output: the network's output for the samples.
            label_B: class labels.
            loss_sums: the loss summed over samples, a number for each batch that the samples came in. They are added
                one by one, so that the sum does not depend on how many batches were added together.
        """
        first_BN = first_spike_steps(output.spikes_TBN)
        decision_B = first_BN.amin(1)
        for loss_sum in loss_sums:
            self.loss += loss_sum
        self.samples += len(label_B)
        self.decision_steps += decision_B.sum()
        if self.shortens and output.window_B is not None:
            self.window_steps += output.window_B.sum()
        for k, activity in enumerate(output.layers):
            fired_BN = activity.counts_BN > 0
            self.spikes_L[k] += activity.totals_TB.sum()
            self.decision_spikes_L[k] += activity.count_until(decision_B).sum()
            self.silent_L[k] += fired_BN.numel() - fired_BN.sum()
            self.saturated_L[k] += (2 * activity.counts_BN > len(activity.totals_TB)).sum()
            getattr(self, f"fired{k + 1}_N").logical_or_(fired_BN.any(0))
        if self.classes:
            self._count_correct(first_BN, output.layers[-1].counts_BN, label_B)

    def _count_correct(self, first_BN: Tensor, counts_BN: Tensor, label_B: Tensor) -> None:
        classes_C = torch.arange(self.classes, device=label_B.device)
        is_label_BC = label_B[:, None] == classes_C
        self.support_C += is_label_BC.sum(0)
        for name, readout in self.readouts.items():
            predicted_B = readout(first_BN, counts_BN)
            self._correct_C(name).add_((is_label_BC & (predicted_B[:, None] == classes_C)).sum(0))

    def _correct_C(self, readout: str) -> Tensor:
        """The samples of each class that a readout gets right."""
        correct_C: Tensor = getattr(self, f"correct_{readout}_C")
        return correct_C

    def remember(self, output: NetworkOutput, label_B: Tensor, loss: Tensor) -> None:
        """Add a training batch soon: many at once take much less time than one by one.

        Args:
            output: the network's output for the batch.
            label_B: class labels.
            loss: the batch's mean loss, a scalar.
        """
        layers = [replace(activity, spikes=None) for activity in output.layers]
        lean = NetworkOutput(output.spikes_TBN.detach(), output.times_TBN.detach(), layers, None, output.window_B)
        self._remembered.append((lean, label_B, loss.double() * len(label_B)))
        if len(self._remembered) == TOGETHER:
            self.catch_up()

    def catch_up(self) -> None:
        """Add what was remembered; everything below does so first, except ``compute``."""
        if self._remembered:
            outputs, labels, loss_sums = zip(*self._remembered, strict=True)
            self._remembered.clear()
            self.update(joined(outputs), torch.cat(labels), loss_sums)

    def headline(self) -> dict[str, float]:
        """Loss, accuracy and spikes per sample of what this process has seen so far, without synchronisation."""
        self.catch_up()
        samples = max(int(self.samples), 1)
        shown = {"loss": float(self.loss) / samples}
        for name in self.readouts if self.classes else ():
            shown[f"acc_{name}"] = int(self._correct_C(name).sum()) / samples
        return shown | {"spikes": int(self.spikes_L.sum()) / samples}

    def sums(self) -> dict[str, Tensor]:
        """A copy of what this process has summed up so far."""
        self.catch_up()
        return {name: value.detach().cpu().clone() for name, value in self._states().items()}

    def add_sums(self, sums: dict[str, Tensor]) -> None:
        """Add the sums of samples that were seen elsewhere or earlier.

        Raises:
            ValueError: they are those of another network.
        """
        own = self._states()
        if {name: value.shape for name, value in sums.items()} != {name: value.shape for name, value in own.items()}:
            raise ValueError("the running metrics are those of another network")
        self.merge_state({name: value.to(self.device) for name, value in sums.items()})
        self._update_count += 1  # torchmetrics warns of computing what was never updated

    def _states(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.metric_state.items() if isinstance(value, Tensor)}  # none is a list

    def compute(self) -> dict[str, Tensor]:
        """All metrics, see the class; empty when no sample was seen."""
        if not self.samples:
            return {}
        n = self.samples.double()
        values = {
            "loss": self.loss / n,
            "spikes_per_sample": self.spikes_L.sum() / n,
            "decision_spikes": self.decision_spikes_L.sum() / n,
            "time_to_first_spike_steps": self.decision_steps / n,
            **({"window_steps": self.window_steps / n} if self.shortens else {}),
        }
        for k, size in enumerate(self.layer_sizes):
            values[f"layer{k + 1}/spikes_per_sample"] = self.spikes_L[k] / n
            values[f"layer{k + 1}/decision_spikes"] = self.decision_spikes_L[k] / n
            values[f"layer{k + 1}/silent_share"] = self.silent_L[k] / (n * size)
            values[f"layer{k + 1}/saturated_share"] = self.saturated_L[k] / (n * size)
            values[f"layer{k + 1}/dead_share"] = 1 - getattr(self, f"fired{k + 1}_N").double().mean()
        for name in self.readouts if self.classes else ():
            correct_C = self._correct_C(name)
            values[f"accuracy_{name}"] = correct_C.sum() / n
            for c in self.support_C.nonzero().flatten().tolist():
                values[f"class{c}/accuracy_{name}"] = correct_C[c] / self.support_C[c]
        return values


def exact_sum(loss_B: Tensor) -> Tensor:
    """The sum of losses, each rounded to 2⁻²⁴: in float64 it is the same in any order and grouping, below 2²⁹.

    Examples:
        >>> exact_sum(torch.tensor([0.5, 0.25])).item()
        0.75
    """
    return (loss_B.double() * 2**24).round().sum() / 2**24


def joined(outputs: Sequence[NetworkOutput]) -> NetworkOutput:
    """The outputs of several batches as that of one, without the spikes of the layers."""
    layers = [
        LayerActivity(torch.cat([a.counts_BN for a in batches]), torch.cat([a.totals_TB for a in batches], 1), None)
        for batches in zip(*(output.layers for output in outputs), strict=True)
    ]
    spikes_TBN = torch.cat([output.spikes_TBN for output in outputs], 1)
    times_TBN = torch.cat([output.times_TBN for output in outputs], 1)
    windows = [output.window_B for output in outputs if output.window_B is not None]
    return NetworkOutput(spikes_TBN, times_TBN, layers, None, torch.cat(windows) if windows else None)
