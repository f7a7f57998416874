"""Pictures of a landscape, as matplotlib figures that need no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..colours import rule_colour, rule_line
from ..pictures import ACCENT, INK, plain
from .spike_changes import SpikeChanges


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
        plain(ax)
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


class Curve(NamedTuple):
    """Cosines over scales.

    Args:
        scales: σ.
        means: over networks, of the gradient at the weights.
        intervals: of these means; empty for a curve without.
        smoothed: means of the gradient smoothed as the loss is; empty for a curve without.
    """

    scales: Sequence[float]
    means: Sequence[float]
    intervals: Sequence[tuple[float, float]]
    smoothed: Sequence[float]


def truth_over_scales(
    panels: Mapping[tuple[str, str], Mapping[str, Curve] | str],
    epochs: Sequence[str],
    trained_by: Sequence[str],
    title: str,
) -> Figure:
    """How true each rule's gradient is over the scale of the smoothing: a row for each epoch, a column for each rule.

    Args:
        panels: curves by rule for each (epoch, training rule); that of the ceiling has the name "". Or a word in
            their place.
        epochs: rows, in order.
        trained_by: columns, in order.
        title: of the figure.
    """
    size = (3.1 * len(trained_by) + 0.8, 2.3 * len(epochs) + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(epochs), len(trained_by), sharex=True, sharey=True, squeeze=False)
    for row, epoch in zip(axes, epochs, strict=True):
        for ax, trained in zip(row, trained_by, strict=True):
            panel = panels.get((epoch, trained), {})
            if isinstance(panel, str):
                ax.text(0.5, 0.6, panel, transform=ax.transAxes, ha="center", color=INK)
            for rule, curve in ({} if isinstance(panel, str) else panel).items():
                _curve(ax, rule, curve)
            ax.axhline(0, color=INK, lw=0.6)
            ax.set_xscale("log")
            ax.set_ylim(-1.05, 1.05)
            plain(ax)
            when = "before training" if epoch == "0" else f"epoch {epoch}"
            ax.set_title(f"trained by {trained}, {when}", fontsize=8)
        row[0].set_ylabel("cosine", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("scale of the smoothing, in weight norms", fontsize=8)
    shown = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    labels = sorted(shown)
    figure.legend([shown[label] for label in labels], labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title, fontsize=9)
    return figure


def _curve(ax: Axes, rule: str, curve: Curve) -> None:
    if not rule:
        ax.plot(curve.scales, curve.means, color=INK, lw=1, ls=(0, (1, 2)), label="ceiling of a point prediction")
        return
    colour = rule_colour(rule)
    ax.plot(curve.scales, curve.means, color=colour, lw=1.8, ls=rule_line(rule), marker="o", ms=3, label=rule)
    low, high = zip(*curve.intervals, strict=True)
    ax.fill_between(curve.scales, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(curve.scales, curve.smoothed, color=colour, lw=0.9, alpha=0.7, label=f"{rule}, smoothed alike")
