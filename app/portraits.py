"""Portraits of a trained network, as matplotlib figures that need no screen: what it does and is, how it got there.

Each is made from a :class:`View`. Colours are those of :mod:`app.colours`; lines differ in style or marker too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from .colours import SETTING_COLOURS
from .data.event_dataset import EventDataset
from .events import Batch
from .layers import SpikingLayer
from .network import Network, NetworkOutput
from .neuron.psp import psp_kernel, psp_slope_kernel
from .pictures import ACCENT, INK, plain, raster, spike_panels
from .readout import READOUTS, first_spike_steps

MOST_SAMPLES = 2000
"""Validation samples behind the confusion matrix and the accuracy against spikes."""
AT_ONCE = 250
FEW = 4
"""Neurons of a layer whose membrane potential is drawn."""
MOST_TILES = 40
LINES = ("-", "--", "-.", ":")


class NothingToDraw(ValueError):
    """A picture that a network or a task does not have; the message says why."""


@dataclass(frozen=True)
class View:
    """What pictures are made from.

    Args:
        network: as it is to be drawn.
        samples: of the validation split.
        readout: what its classes are read by; None in a task without labels.
        input_shape: of the task's samples: an image's (channels, rows, columns), or the number of inputs.
        rows: what the run has logged, with ``epoch``.
        best_epoch: epochs after which its weights were kept; None if not known.
        sample: which one is drawn.
        channels: names of the input's channels, if they have names.
    """

    network: Network
    samples: EventDataset
    readout: str | None
    input_shape: tuple[int, ...]
    rows: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    sample: int = 0
    channels: Sequence[str] = ()

    @cached_property
    def one(self) -> tuple[Batch, NetworkOutput]:
        """The sample that is drawn, and what the network makes of it."""
        return self._run([self.sample])

    @cached_property
    def many(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of many samples: labels [S], output spikes [T, S, N], and spikes of all layers so far [T, S]."""
        found = []
        for start in range(0, min(len(self.samples), MOST_SAMPLES), AT_ONCE):
            end = min(start + AT_ONCE, len(self.samples), MOST_SAMPLES)
            batch, output = self._run(range(start, end))
            so_far = torch.stack([activity.totals_TB for activity in output.layers]).sum(0).cumsum(0)
            found.append((batch.label_B.cpu(), output.spikes_TBN.cpu(), so_far.cpu()))
        labels, spikes, totals = zip(*found, strict=True)
        return torch.cat(labels), torch.cat(spikes, 1), torch.cat(totals, 1)

    def _run(self, which: Sequence[int]) -> tuple[Batch, NetworkOutput]:
        batch = self.samples.__getitems__(list(which))
        with torch.no_grad():
            return batch, self.network(batch.events.to(next(self.network.parameters()).device))

    @property
    def title(self) -> str:
        """What the sample is and what the network says."""
        batch, output = self.one
        if self.readout is None:
            return f"validation sample {self.sample}"
        first_BN = first_spike_steps(output.spikes_TBN)
        answer = int(READOUTS[self.readout](first_BN, output.spikes_TBN.sum(0))[0])
        said = f"class {answer} by {'first spike' if self.readout == 'first' else f'spike {self.readout}'}"
        return f"validation sample {self.sample}: label {int(batch.label_B[0])}, {said}"

    def needs_labels(self) -> str:
        """The readout.

        Raises:
            NothingToDraw: the task has no labels.
        """
        if self.readout is None:
            raise NothingToDraw("the task has no labels")
        return self.readout


def rasters(view: View) -> Figure:
    """All spikes of one sample, a panel for each layer, the decision marked."""
    batch, output = view.one
    panels = spike_panels(batch.events, output)
    if batch.target_TBN is not None:
        panels.append(("target", batch.target_TBN[:, 0].cpu()))
    first = int(first_spike_steps(output.spikes_TBN)[0].min())
    return raster(panels, first, view.title, batch.events.time_steps, view.channels)


def traces(view: View) -> Figure:
    """Membrane potentials of the first neurons of each layer to fire, against the threshold."""
    batch, output = view.one
    states = view.network.record(batch.events.to(next(view.network.parameters()).device))
    threshold = view.network.neuron.threshold
    figure = Figure(figsize=(8, 1 + 2.1 * len(states)), layout="constrained")
    axes = figure.subplots(len(states), 1, sharex=True, squeeze=False)[:, 0]
    decision = int(first_spike_steps(output.spikes_TBN)[0].min())
    for k, (ax, state) in enumerate(zip(axes, states, strict=True), 1):
        potential_TN, spikes_TN = (x[:, 0].flatten(1).cpu() for x in (state.potential_TBN, state.spikes_TBN))
        ax.axhline(threshold, color=INK, lw=1, ls=(0, (4, 3)))
        for neuron, colour, style in zip(_first_to_fire(spikes_TN), cycle(SETTING_COLOURS), cycle(LINES), strict=False):
            ax.plot(potential_TN[:, neuron], color=colour, lw=1.5, ls=style, label=f"neuron {neuron}")
            steps = spikes_TN[:, neuron].nonzero().flatten()
            ax.plot(steps, potential_TN[steps, neuron], ls="", marker="o", ms=4, color=colour)
        if decision < len(potential_TN):
            ax.axvline(decision, color=ACCENT, lw=3, alpha=0.3)
        ax.set_ylabel(f"layer {k}\npotential V", fontsize=9)
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        ax.annotate("θ", (0, threshold), (4, 3), textcoords="offset points", fontsize=10)
        plain(ax)
    axes[-1].set_xlim(-0.5, len(states[0].spikes_TBN) - 0.5)
    axes[-1].set_xlabel("time step (red: first output spike; dots: spikes, which reset V)")
    figure.suptitle(view.title, fontsize=10)
    return figure


def _first_to_fire(spikes_TN: Tensor) -> list[int]:
    """The neurons that fire first, silent ones last; a neuron of small number before others."""
    first_N = first_spike_steps(spikes_TN[:, None])[0]
    return sorted(first_N.argsort(stable=True)[:FEW].tolist())


def psp(view: View) -> Figure:
    """What one spike through weight 1 does to the membrane potential, and the slope that timing-based rules use."""
    neuron, steps = view.network.neuron, view.samples.time_steps
    kernel, slope = psp_kernel(neuron, steps), psp_slope_kernel(neuron, steps)
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(kernel, color=SETTING_COLOURS[0], lw=2, label="ε[τ]")
    top.axhline(neuron.threshold, color=INK, lw=1, ls=(0, (4, 3)))
    top.annotate("θ", (0, neuron.threshold), (4, 3), textcoords="offset points", fontsize=10)
    peak = int(kernel.argmax())
    top.plot(
        peak, kernel[peak], "o", ms=5, color=SETTING_COLOURS[0], label=f"peak {kernel[peak]:.3g} after {peak} steps"
    )
    bottom.plot(slope, color=SETTING_COLOURS[1], lw=2, ls="--", label="slope ε*[τ]")
    bottom.axhline(0, color=INK, lw=0.8)
    top.set_ylabel("potential V per weight")
    bottom.set_ylabel("V per weight and step")
    bottom.set_xlabel("steps τ after an input spike")
    for ax in (top, bottom):
        ax.legend(frameon=False, fontsize=9)
        plain(ax)
    constants = (
        f"α_V = {neuron.alpha_v:g}, α_I = {neuron.alpha_i:g}, β_V = {neuron.beta_v:.3g}, β_I = {neuron.beta_i:g}"
    )
    figure.suptitle(f"post-synaptic potential: {constants}", fontsize=10)
    return figure


def weights(view: View) -> Figure:
    """The weights of the first layer as images, or as a matrix where the input is no image; the others as matrices."""
    layers = view.network.spiking
    tiles, where = _tiles(layers[0], view.input_shape, view.channels)
    rest = layers[1:] if tiles is not None else layers
    figure = Figure(figsize=(8, (3.8 if tiles is not None else 0) + 2.2 * len(rest)), layout="constrained")
    parts = figure.subfigures(
        int(tiles is not None) + len(rest),
        1,
        squeeze=False,
        height_ratios=[1.75] * (tiles is not None) + [1] * len(rest),
    )[:, 0]
    if tiles is not None:
        _draw_tiles(parts[0], tiles, where)
    for part, layer in zip(parts[int(tiles is not None) :], rest, strict=True):
        number = layers.index(layer) + 1
        ax = part.subplots()
        matrix = layer.weight.detach().flatten(1).cpu().numpy()
        _coloured(part, [ax], [matrix], f"weight, layer {number}")
        ax.set_aspect("auto")
        inputs = f"input of layer {number}"
        ax.set(xlabel=inputs if layer.weight.dim() == 2 else "input channel, row, column of the kernel")
        ax.set(ylabel="neuron" if layer.weight.dim() == 2 else "channel")
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    figure.suptitle("weights (blue: inhibits, red: excites)", fontsize=10)
    return figure


def _tiles(layer: SpikingLayer, shape: tuple[int, ...], names: Sequence[str]) -> tuple[list[np.ndarray] | None, str]:
    """Images of what neurons or kernels of the first layer weigh, those with the largest weights; None without."""
    weight = layer.weight.detach().cpu()
    if weight.dim() == 2:
        if len(shape) != 3:
            return None, ""
        weight = weight.view(-1, *shape)
    largest = weight.flatten(1).norm(dim=1).argsort(descending=True, stable=True)[:MOST_TILES].sort().values
    images = []
    for n in largest.tolist():
        channels = [channel.numpy() for channel in weight[n]]
        gap = np.full((channels[0].shape[0], 1), np.nan)
        images.append(np.concatenate([part for channel in channels for part in (channel, gap)][:-1], 1))
    what = "neurons" if layer.weight.dim() == 2 else "kernels"
    of_tile = " and ".join(names) if len(names) == weight.shape[1] else f"{weight.shape[1]} input channels"
    channels_said = "" if weight.shape[1] == 1 else f", {of_tile} side by side"
    which = f"{len(images)} of {len(weight)} {what} with the largest weights" if len(images) < len(weight) else what
    return images, f"layer 1: {which}{channels_said}"


def _draw_tiles(part: Any, tiles: list[np.ndarray], title: str) -> None:
    columns = max(1, min(len(tiles), round(10 * (tiles[0].shape[0] / tiles[0].shape[1]) ** 0.5)))
    rows = -(-len(tiles) // columns)
    axes = part.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    _coloured(part, axes[: len(tiles)], tiles, "weight, layer 1", list(axes))
    part.suptitle(title, fontsize=9)


def _coloured(part: Any, axes: Sequence[Axes], images: Sequence[np.ndarray], label: str, beside: Any = None) -> None:
    """Images in one range of colours around 0; the 0.5 % of the largest weights are cut off."""
    values = np.abs(np.concatenate([image.ravel() for image in images]))
    top = float(np.nanquantile(values, 0.995)) or 1.0
    for ax, image in zip(axes, images, strict=True):
        shown = ax.imshow(image, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
    part.colorbar(shown, ax=beside or list(axes), label=label, extend="both", shrink=0.9, pad=0.02)


def confusion(view: View) -> Figure:
    """Which class is taken for which, on validation data; each row adds up to 100 %."""
    readout = view.needs_labels()
    label_S, spikes_TSN, _ = view.many
    answer_S = READOUTS[readout](first_spike_steps(spikes_TSN), spikes_TSN.sum(0))
    classes = spikes_TSN.shape[2]
    counts = torch.bincount(label_S * classes + answer_S, minlength=classes**2).view(classes, classes).double()
    share = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    size = max(4.4, 0.42 * min(classes, 24) + 1.4)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    ax = figure.subplots()
    shown = ax.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(shown, ax=ax, label="share of the label's samples (%)", shrink=0.85)
    for (row, column), value in np.ndenumerate(share if classes <= 20 else np.zeros((0, 0))):
        if counts[row, column]:
            colour = "white" if value > 0.5 else INK
            ax.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", fontsize=8, color=colour)
    ax.set(xlabel="answer", ylabel="label")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=min(classes, 20)))
    right, by = float(counts.diagonal().sum() / counts.sum()), WORDS.get(readout, readout)
    figure.suptitle(f"{len(label_S)} validation samples, {right:.2%} right by {by}; numbers are samples", fontsize=10)
    return figure


def curves(view: View) -> Figure:
    """Loss, accuracy and spikes over the epochs."""
    panels = [
        ("loss", ("train/loss", "val/loss")),
        ("accuracy", tuple(f"{split}/accuracy_{view.readout}" for split in ("train", "val"))),
        ("spikes per sample", ("val/spikes_per_sample", "val/decision_spikes")),
    ]
    known = {name for row in view.rows for name in row}
    shown = [(label, [name for name in names if name in known]) for label, names in panels]
    shown = [(label, names) for label, names in shown if names]
    if not shown:
        raise NothingToDraw("there is no metrics.csv with a finished epoch beside the checkpoint")
    figure = Figure(figsize=(7, 0.8 + 2 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (label, names) in zip(axes, shown, strict=True):
        for name, colour, (style, mark) in zip(names, SETTING_COLOURS, (("-", "o"), ("--", "s")), strict=False):
            points = [(row["epoch"] + 1, row[name]) for row in view.rows if name in row and "epoch" in row]
            few = mark if len(points) <= 40 else None
            ax.plot(*zip(*points, strict=True), color=colour, ls=style, lw=1.6, marker=few, ms=3, label=CURVES[name])
        ax.set_ylabel(label + (f"\nby {WORDS.get(str(view.readout), view.readout)}" if label == "accuracy" else ""))
        if label == "accuracy":
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        elif label != "loss":
            ax.set_ylim(0, None)
        if view.best_epoch is not None:
            ax.axvline(view.best_epoch, color=ACCENT, lw=3, alpha=0.3)
        ax.legend(frameon=False, fontsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        plain(ax)
    axes[-1].set_xlabel("epoch" + (" (red: the best by validation)" if view.best_epoch is not None else ""))
    return figure


CURVES = {
    **{f"train/{name}": "training" for name in ("loss", "accuracy_first", "accuracy_count")},
    **{f"val/{name}": "validation" for name in ("loss", "accuracy_first", "accuracy_count")},
    "val/spikes_per_sample": "whole window, validation",
    "val/decision_spikes": "until the decision, validation",
}


def cost(view: View) -> Figure:
    """How accurate the answer is that may be asked for after any step, against the spikes that were fired by then."""
    readout = view.needs_labels()
    label_S, spikes_TSN, so_far_TS = view.many
    spent_T = so_far_TS.double().mean(1)
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    ax = figure.subplots()
    names = dict.fromkeys([readout, "first", "count"])
    for name, colour, style in zip(names, SETTING_COLOURS, LINES, strict=False):
        right_T = torch.stack([_right(name, spikes_TSN[: t + 1], label_S) for t in range(len(spikes_TSN))])
        ax.plot(
            spent_T, right_T, color=colour, ls=style, lw=2, label=f"asked after each step, by {WORDS.get(name, name)}"
        )
    first_SN = first_spike_steps(spikes_TSN)
    end_S = first_SN.amin(1).clamp(max=len(spikes_TSN) - 1)
    decided = so_far_TS.gather(0, end_S[None]).double().mean()
    right = _right("first", spikes_TSN, label_S)
    ax.plot(decided, right, marker="*", ms=14, ls="", color=ACCENT, label="each sample stops at its first output spike")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(
        xlabel="spikes per sample of all layers so far", ylabel="validation accuracy", ylim=(0, 1.02), xlim=(0, None)
    )
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    plain(ax)
    figure.suptitle(f"accuracy against spikes, {len(label_S)} validation samples", fontsize=10)
    return figure


WORDS = {"first": "first spike", "count": "spike count"}


def _right(readout: str, spikes_TSN: Tensor, label_S: Tensor) -> Tensor:
    """Share of right answers; a sample without an output spike has none."""
    answer_S = READOUTS[readout](first_spike_steps(spikes_TSN), spikes_TSN.sum(0))
    return ((answer_S == label_S) & (spikes_TSN.sum((0, 2)) > 0)).double().mean()


PICTURES: dict[str, Callable[[View], Figure]] = {
    "rasters": rasters,
    "traces": traces,
    "psp": psp,
    "weights": weights,
    "confusion": confusion,
    "curves": curves,
    "cost": cost,
}
"""All pictures, by the name under which they are asked for."""


def drawn(view: View, names: Sequence[str] = tuple(PICTURES)) -> Iterator[tuple[str, Figure | NothingToDraw]]:
    """The pictures of these names, or why there is none."""
    for name in names:
        try:
            yield name, PICTURES[name](view)
        except NothingToDraw as reason:
            yield name, reason
