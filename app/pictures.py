"""Pictures as matplotlib figures that need no screen: spike rasters, spike-train matching; writing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .colours import rule_colour, rule_line
from .events import SpikeEvents
from .files import replacing
from .markdown import counted

INK, GRID, ACCENT = "#1f2933", "#d9dee4", "#b3261e"
DPI = 110
MOST_CHANNELS = 6
"""So many channels of a raster's panel are named; of more, every second or so is."""


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all; its kind is that of the name, such as .png or .svg."""
    with replacing(path, "wb") as file:
        figure.savefig(file, dpi=DPI, format=path.suffix[1:].lower())


def show(loggers: Iterable[Any], name: str, path: Path) -> None:
    """Hand a picture to the loggers that take pictures, as W&B does."""
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(name, [str(path)])


def spike_panels(events: SpikeEvents, output: Any) -> list[tuple[str, Tensor]]:
    """What :func:`raster` draws of the first sample of a batch.

    Args:
        events: its input.
        output: what a network made of it (:class:`app.network.NetworkOutput`).
    """
    layers = [("input", events.to_dense())]
    layers += [(f"layer {k}", activity.dense_spikes()) for k, activity in enumerate(output.layers, 1)]
    return [(name, spikes[:, 0].cpu()) for name, spikes in layers]


def raster(
    layers: Sequence[tuple[str, Tensor]],
    decision_step: int,
    title: str,
    time_steps: int,
    channels: Sequence[str] = (),
) -> Figure:
    """Spike rasters of one sample, a panel for the input and each layer; rows of one channel lie together.

    Args:
        layers: (name, 0/1 spikes [T, *shape]) from the input to the output; a shape of three axes begins with channels.
        decision_step: step of the first output spike, marked by a line; T or more: no line.
        title: of the figure.
        time_steps: T.
        channels: names of the input's channels; by default their numbers.
    """
    flat = [spikes.flatten(1) for _, spikes in layers]
    heights = [max(1.0, min(3.0, spikes.shape[1] / 100)) for spikes in flat]
    figure = Figure(figsize=(8, 1.2 + 1.4 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(layers), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, shaped), spikes in zip(axes, layers, flat, strict=True):
        steps, neurons = spikes.nonzero(as_tuple=True)
        size = 40 if spikes.shape[1] <= 20 else 14 if spikes.shape[1] <= 100 else 6
        ax.scatter(steps.tolist(), neurons.tolist(), s=size, marker="|", c=INK, lw=1, zorder=3)
        if decision_step < time_steps:
            ax.axvline(decision_step, color=ACCENT, lw=3, alpha=0.3)
        ax.set_ylabel(f"{name}\n{counted(spikes.shape[1], 'neuron')}\n{counted(len(steps), 'spike')}", fontsize=8)
        ax.set_ylim(spikes.shape[1] - 0.5, -0.5)
        ax.grid(axis="x", color=GRID, lw=0.5)
        if shaped.dim() == 4 and shaped.shape[1] > 1:
            _mark_channels(ax, shaped.shape[1], spikes.shape[1], channels if shaped is layers[0][1] else ())
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlim(-0.5, time_steps - 0.5)
    axes[-1].set_xlabel("time step" + (" (red: first output spike)" if decision_step < time_steps else ""))
    figure.align_ylabels(axes)
    figure.suptitle(title, fontsize=10)
    return figure


def _mark_channels(ax: Axes, count: int, neurons: int, names: Sequence[str]) -> None:
    """Lines between the channels of a raster, and their names or numbers in place of the neurons' numbers."""
    size = neurons / count
    for channel in range(1, count):
        ax.axhline(channel * size - 0.5, color=GRID, lw=0.8, zorder=1)
    shown = range(0, count, -(-count // MOST_CHANNELS))
    if len(names) == count:
        labels = [names[channel] for channel in shown]
    else:
        labels = [f"channel {channel}" for channel in shown]
    ax.set_yticks([(channel + 0.5) * size - 0.5 for channel in shown], labels, fontsize=8)
    ax.tick_params(axis="y", length=0)


def matching(
    curves: Mapping[str, Sequence[tuple[float, float, float]]],
    rasters: Mapping[str, tuple[Tensor, Tensor]],
    title: str,
) -> Figure:
    """Spike-train matching: the loss of each rule over training, and below it what one trial fires beside its target.

    Args:
        curves: for each rule, points (epoch, mean loss, standard deviation over trials).
        rasters: for each rule, 0/1 output and target spikes [T, N] of one trial.
        title: of the figure.
    """
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.1, 1])[:, 0]
    ax = top.subplots()
    for rule, points in curves.items():
        epochs, means, stds = (list(values) for values in zip(*points, strict=True))
        ax.plot(epochs, means, color=rule_colour(rule), lw=1.8, ls=rule_line(rule), label=rule)
        low, high = ([max(m + sign * s, 0) for m, s in zip(means, stds, strict=True)] for sign in (-1, 1))
        ax.fill_between(epochs, low, high, color=rule_colour(rule), alpha=0.18, lw=0)
    ax.set(xlabel="epoch (one step each)", ylabel="loss", ylim=(0, None), xlim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    plain(ax)
    panels = bottom.subplots(1, len(rasters), sharey=True, squeeze=False)[0]
    for panel, (rule, (output_TN, target_TN)) in zip(panels, rasters.items(), strict=True):
        _matched(panel, output_TN, target_TN, rule_colour(rule))
        panel.set_title(rule, fontsize=9)
    panels[0].set_ylabel("output neuron")
    figure.suptitle(title, fontsize=10)
    return figure


def _matched(ax: Axes, output_TN: Tensor, target_TN: Tensor, colour: str) -> None:
    """Targets as hollow circles, spikes as ticks: a tick in a circle is a spike at the right step."""
    steps, neurons = target_TN.nonzero(as_tuple=True)
    ax.scatter(steps.tolist(), neurons.tolist(), s=46, marker="o", fc="none", ec=INK, lw=0.7)
    steps, neurons = output_TN.nonzero(as_tuple=True)
    ax.scatter(steps.tolist(), neurons.tolist(), s=50, marker="|", c=colour, lw=1.8, zorder=3)
    ax.set(xlim=(-2, len(output_TN) + 1), ylim=(output_TN.shape[1] - 0.5, -0.5), xlabel="time step")
    ax.grid(axis="x", color=GRID, lw=0.5)
    ax.spines[["top", "right"]].set_visible(False)


def plain(ax: Axes) -> None:
    """Axes of the house: a faint grid, no box."""
    ax.grid(color=GRID, lw=0.5)
    ax.spines[["top", "right"]].set_visible(False)
