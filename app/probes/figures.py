"""Pictures of measurements, as matplotlib figures that need no screen."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

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


def landscape(steps: Sequence[float], losses: Sequence[float], title: str) -> Figure:
    """The loss on a line through the current point.

    Args:
        steps: factors of the direction; 0 is the current point.
        losses: the loss at each.
        title: of the figure.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.plot(steps, losses, color=INK, marker=".", lw=1)
    ax.axvline(0, color=ACCENT, lw=1)
    ax.set_xlabel("distance along a filter-normalised random direction (red: current weights)")
    ax.set_ylabel("loss")
    ax.grid(color=GRID, lw=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure
