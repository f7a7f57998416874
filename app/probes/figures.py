"""Pictures of measurements, as matplotlib figures that need no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..colours import rule_colour, rule_line
from .spike_changes import SpikeChanges

INK, GRID, ACCENT = "#1f2933", "#d9dee4", "#b3261e"


def raster(layers: Sequence[tuple[str, Tensor]], decision_step: int, title: str, time_steps: int) -> Figure:
    """Spike rasters of one sample, a panel for the input and each layer.

    Args:
        layers: (name, 0/1 spikes [T, N]) from the input to the output.
        decision_step: step of the first output spike, marked by a line; T or more: no line.
        title: of the figure.
        time_steps: T.
    """
    heights = [max(1.0, min(3.0, spikes.shape[1] / 100)) for _, spikes in layers]
    figure = Figure(figsize=(8, 1.2 + 1.4 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(layers), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (name, spikes) in zip(axes, layers, strict=True):
        steps, neurons = spikes.nonzero(as_tuple=True)
        size = 40 if spikes.shape[1] <= 20 else 14 if spikes.shape[1] <= 100 else 6
        ax.scatter(steps.tolist(), neurons.tolist(), s=size, marker="|", c=INK, lw=1, zorder=3)
        if decision_step < time_steps:
            ax.axvline(decision_step, color=ACCENT, lw=3, alpha=0.3)
        ax.set_ylabel(f"{name}\n{spikes.shape[1]} neurons\n{len(steps)} spikes", fontsize=8)
        ax.set_ylim(spikes.shape[1] - 0.5, -0.5)
        ax.grid(axis="x", color=GRID, lw=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlim(-0.5, time_steps - 0.5)
    axes[-1].set_xlabel("time step" + (" (red: first output spike)" if decision_step < time_steps else ""))
    figure.suptitle(title, fontsize=10)
    return figure


def predictions(
    steps: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    predicted: Mapping[str, Sequence[float]],
    changes: Sequence[SpikeChanges],
    labels: tuple[str, str],
) -> Figure:
    """The loss on a line with what each rule's gradient says it is, and below it what the spikes do.

    Args:
        steps: factors of the direction; 0 is the current point.
        losses: the true loss at each.
        smoothed: the same, smoothed.
        predicted: for each rule, its integrated gradient.
        changes: spikes per sample changed between a point and the next one.
        labels: of the figure and of the horizontal axis.
    """
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    top.plot(steps, losses, color=INK, lw=1, marker=".", ms=3, label="true loss")
    top.plot(steps, smoothed, color=INK, lw=2.5, alpha=0.35, label="true loss, smoothed")
    for rule, values in predicted.items():
        top.plot(
            steps, values, color=rule_colour(rule), lw=1.8, ls=rule_line(rule), label=f"{rule}: gradient integrated"
        )
    low, high = min(losses), max(losses)
    room = 0.3 * (high - low) or 1.0
    top.set_ylim(low - room, high + room)
    top.set_ylabel("loss")
    top.legend(frameon=False, fontsize=8)
    _spike_changes(bottom, steps, changes)
    bottom.set_xlabel(labels[1])
    for ax in (top, bottom):
        _plain(ax)
        ax.axvline(0, color=ACCENT, lw=1, alpha=0.6)
    figure.suptitle(labels[0], fontsize=10)
    return figure


def _spike_changes(ax: Axes, steps: Sequence[float], changes: Sequence[SpikeChanges]) -> None:
    centres = [(a + b) / 2 for a, b in pairwise(steps)]
    for name, ls in (("created", "-"), ("removed", "--"), ("shifted", ":")):
        ax.plot(centres, [getattr(change, name) for change in changes], color=INK, lw=1.4, ls=ls, label=name)
    ax.set_ylabel("spikes per sample\nand step of the line")
    ax.legend(frameon=False, fontsize=8, ncols=3)


def plane(
    steps: Sequence[float],
    losses: Sequence[Sequence[float]],
    arrows: Mapping[str, tuple[Sequence[float], Sequence[Sequence[tuple[float, float]]]]],
    labels: tuple[str, str, str],
) -> Figure:
    """The loss on a plane, a panel for each rule with the directions in which its gradient says the loss falls.

    Args:
        steps: factors of both directions; (0, 0) is the current point.
        losses: a row for each factor of the second direction.
        arrows: for each rule, the factors of its grid and the slopes (along the first, along the second direction).
        labels: of the figure, of the horizontal and of the vertical axis.
    """
    figure = Figure(figsize=(3.6 * len(arrows) + 0.6, 4), layout="constrained")
    axes = figure.subplots(1, len(arrows), sharey=True, squeeze=False)[0]
    for ax, (rule, (at, slopes)) in zip(axes, arrows.items(), strict=True):
        filled = ax.contourf(steps, steps, losses, levels=18, cmap="Greys", alpha=0.75)
        _arrows(ax, at, slopes, rule_colour(rule))
        ax.plot(0, 0, marker="o", ms=5, color=ACCENT)
        ax.set_title(f"{rule}: downhill by its gradient", fontsize=9)
        ax.set_xlabel(labels[1], fontsize=8)
    axes[0].set_ylabel(labels[2], fontsize=8)
    figure.colorbar(filled, ax=list(axes), label="loss", shrink=0.9)
    figure.suptitle(labels[0], fontsize=10)
    return figure


def _arrows(ax: Axes, at: Sequence[float], slopes: Sequence[Sequence[tuple[float, float]]], colour: str) -> None:
    """Arrows of one length: where a gradient points says more than its size, which differs by orders of magnitude."""
    points = [
        (a, b, -along / size, -across / size)
        for b, row in zip(at, slopes, strict=True)
        for a, (along, across) in zip(at, row, strict=True)
        if (size := (along**2 + across**2) ** 0.5)
    ]
    if points:
        ax.quiver(*zip(*points, strict=True), color=colour, scale=len(at) * 1.6, width=0.008, pivot="mid")


def _plain(ax: Axes) -> None:
    ax.grid(color=GRID, lw=0.5)
    ax.spines[["top", "right"]].set_visible(False)


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
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    ax = top.subplots()
    for rule, points in curves.items():
        epochs, means, stds = (list(values) for values in zip(*points, strict=True))
        ax.plot(epochs, means, color=rule_colour(rule), lw=1.8, ls=rule_line(rule), label=rule)
        low, high = ([max(m + sign * s, 0) for m, s in zip(means, stds, strict=True)] for sign in (-1, 1))
        ax.fill_between(epochs, low, high, color=rule_colour(rule), alpha=0.18, lw=0)
    ax.set(xlabel="epoch (one step each)", ylabel="loss", ylim=(0, None), xlim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    _plain(ax)
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
