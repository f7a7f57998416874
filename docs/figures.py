"""The figures of the documentation, computed by the application's own functions: ``python -m docs.figures [FOLDER]``.

The site draws them when it is built (docs/hooks.py); no picture that this file makes is stored in the repository.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from app import Neuron
from app.colours import SETTING_COLOURS, rule_colour, rule_line
from app.kernels import reference
from app.layers.spiking import fire, membrane_error
from app.losses.spike_train import spike_train_loss
from app.neuron.psp import psp_kernel, psp_slope_kernel
from app.neuron.surrogate import SURROGATES
from app.rules import RULES, Rule

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "svg.hashsalt": "antlr-snn",
}
NEURONS = {
    "integrate-and-fire (1, 0)": (1.0, 0.0),
    "leaky, no synaptic current (0.9, 0)": (0.9, 0.0),
    "alpha synapse (0.9, 0.9)": (0.9, 0.9),
    "non-leaky, exponential (1, 0.9)": (1.0, 0.9),
    "non-leaky, linear (1, 1)": (1.0, 1.0),
}
THREE = ("activation", "timing", "antlr")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
INK, PALE = "#222222", "#9a9a9a"


def psp() -> Figure:
    """ε and its slope ε* for the five neurons that (α_V, α_I) choose."""
    figure, (left, right) = _figure(2)
    for (name, alphas), colour, line in zip(NEURONS.items(), SETTING_COLOURS, LINES, strict=False):
        neuron = Neuron.auto(*alphas, time_steps=40)
        for axes, values in ((left, psp_kernel(neuron, 40)), (right, psp_slope_kernel(neuron, 40))):
            axes.plot(values, color=colour, linestyle=line, label=name)
    left.axhline(1, color=PALE, linewidth=0.8)
    left.annotate("threshold θ", (39, 1), ha="right", va="bottom", color=INK, fontsize=8)
    left.set(title="ε: potential after one spike, weight 1", xlabel="steps after the spike", ylabel="V / θ")
    right.set(title="ε*: its slope", xlabel="steps after the spike", ylabel="V / θ per step")
    right.legend(fontsize=8)
    return figure


def surrogates() -> Figure:
    """Every surrogate derivative with its default settings."""
    figure, (axes,) = _figure(1)
    potential = torch.linspace(-0.5, 2.5, 1201, dtype=torch.float64)
    for (name, kind), colour, line in zip(SURROGATES.items(), SETTING_COLOURS, LINES, strict=False):
        axes.plot(potential, kind()(potential, 1.0), color=colour, linestyle=line, label=name)
    axes.axvline(1, color=PALE, linewidth=0.8)
    axes.set(title="σ(V) stands for dS/dV", xlabel="membrane potential V / θ", ylabel="σ(V)")
    axes.legend(fontsize=8)
    return figure


class Unit(NamedTuple):
    """One neuron with fixed input: its constants, what drives it, and what it does."""

    neuron: Neuron
    drive_TBN: Tensor
    trajectory: reference.Trajectory


def unit(steps: int = 100) -> Unit:
    """A neuron that comes near the threshold once, then fires twice."""
    neuron = Neuron.auto(0.9, 0.85, steps)
    drive_TBN = torch.zeros(steps, 1, 1, dtype=torch.float64)
    for step, weight in ((8, 0.55), (15, 0.5), (40, 0.8), (46, 0.7), (68, 0.9), (80, 0.75)):
        drive_TBN[step] = weight
    return Unit(neuron, drive_TBN, reference.forward(drive_TBN, torch.zeros(1).double(), neuron))


def credit() -> Figure:
    """What each rule makes of the same errors: δV where δS = 1 in every step and δt̂ = 0.1 at every spike."""
    one = unit()
    spikes_T, potential_T = (x.flatten() for x in one.trajectory[:2])
    ones = torch.ones_like(one.drive_TBN)
    figure, panels = _figure(1, rows=4, height=6.4, sharex=True)
    _trace(panels[0], potential_T, spikes_T)
    for axes, name in zip(panels[1:], THREE, strict=True):
        error = membrane_error(ones, 0.1 * ones, one.trajectory, torch.zeros(1), one.neuron, RULES[name]())
        assert isinstance(error, Tensor)
        axes.bar(range(len(spikes_T)), error.flatten(), color=rule_colour(name), width=1)
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.set(ylabel="δV", title=TITLES[name])
    panels[-1].set(xlabel="time step")
    return figure


TITLES = {
    "activation": "activation: σ(V) δS in every step; the nearer the threshold, the larger",
    "timing": "timing: −δt̂ / V*, at spikes only; the flatter the crossing, the larger",
    "antlr": "ANTLR: the sum of both",
}


def _trace(axes: Axes, potential_T: Tensor, spikes_T: Tensor) -> None:
    axes.plot(potential_T, color=INK, linewidth=1.2)
    axes.axhline(1, color=PALE, linewidth=0.8)
    fired = spikes_T.nonzero().flatten()
    axes.plot(fired, potential_T[fired], "v", color=SETTING_COLOURS[1], markersize=7)
    axes.annotate("θ", (len(potential_T) + 1, 1), va="center")
    axes.set(ylabel="V / θ", title="membrane potential of one neuron, and its spikes (triangles)")


def passed_back() -> Figure:
    """What one error δV = 1 says to the layer below, for each step at which an input spike could be."""
    one = unit()
    spikes_TBN = one.trajectory.spikes_TBN
    figure, panels = _figure(1, rows=2, height=3.8, sharex=True)
    for at, colour, line in (
        (62, SETTING_COLOURS[0], "-"),
        (int(spikes_TBN.nonzero()[-1][0]), SETTING_COLOURS[1], "--"),
    ):
        error = torch.zeros_like(spikes_TBN)
        error[at] = 1
        scan = reference.adjoint(error, spikes_TBN, one.neuron)
        assert scan.shift_TBN is not None
        for axes, values in zip(panels, (scan.drive_TBN, scan.shift_TBN), strict=True):
            axes.plot(values.flatten(), color=colour, linestyle=line, label=f"δV = 1 at step {at}")
    for axes in panels:
        for number, step in enumerate(spikes_TBN.flatten().nonzero()):
            axes.axvline(step, color=PALE, linewidth=0.8, label=None if number else "the neuron's own spikes")
    panels[0].set(ylabel="δS of an input", title="activation error: a further input spike at this step (shape of ε)")
    panels[1].set(ylabel="δt̂ of an input", title="timing error: a later input spike at this step (shape of −ε*)")
    panels[1].set(xlabel="time step of the input spike")
    panels[0].legend(fontsize=8)
    return figure


TARGET_STEP = 40


def one_weight(points: int = 601) -> Figure:
    """The loss of one neuron that is to fire at step 40, along one of its weights, and each rule's derivative of it."""
    weight_B = torch.linspace(0.3, 1.5, points, dtype=torch.float64)
    target_TBN = torch.zeros(100, 1, 1, dtype=torch.float64)
    target_TBN[TARGET_STEP] = 1
    loss_B, spikes_TB = _along(weight_B, target_TBN, RULES["antlr"]())[:2]
    figure, (top, middle, low) = _figure(1, rows=3, height=6.2, sharex=True)
    step, point = spikes_TB.nonzero(as_tuple=True)
    top.plot(weight_B[point], step, ".", color=INK, markersize=2, label="spikes")
    top.axhline(TARGET_STEP, color=PALE, linewidth=0.8)
    top.annotate("target: step 40", (0.3, TARGET_STEP), va="bottom", fontsize=8)
    top.set(ylabel="time step", title="spikes of one neuron along one weight", ylim=(0, 100))
    middle.plot(weight_B, loss_B, color=INK)
    middle.set(ylabel="loss L", title="spike-train loss: small steps where spikes move, cliffs where they appear")
    for name in THREE:
        gradient_B = _along(weight_B, target_TBN, RULES[name]())[2]
        low.plot(weight_B, gradient_B, color=rule_colour(name), linestyle=rule_line(name), label=name, linewidth=1)
    low.axhline(0, color=INK, linewidth=0.6)
    low.set(ylabel="dL/dw by the rule", xlabel="weight w")
    low.set_yscale("symlog", linthresh=0.01)
    low.set_title("what each rule says about the slope (symmetric logarithmic scale)")
    low.legend(fontsize=8, loc="lower right")
    return figure


def _along(weight_B: Tensor, target_TBN: Tensor, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """Loss [B], spikes [T, B] and the rule's dL/dw [B] of neurons that differ in the weight of their last input."""
    steps = len(target_TBN)
    neuron = Neuron.auto(0.9, 0.85, steps)
    weight = weight_B.clone().requires_grad_()
    fixed_TBN = torch.zeros(steps, len(weight_B), 1, dtype=torch.float64)
    fixed_TBN[20] = 0.45
    scanned_TBN = torch.zeros_like(fixed_TBN)
    scanned_TBN[30] = scanned_TBN[52] = 1
    drive_TBN = fixed_TBN + scanned_TBN * weight[None, :, None]
    bias = torch.zeros(1, dtype=torch.float64)
    spikes_TBN, times_TBN = fire(drive_TBN, torch.zeros_like(drive_TBN), bias, neuron, rule)
    loss_B = spike_train_loss(spikes_TBN, times_TBN, target_TBN.expand_as(spikes_TBN), reduction="none")
    loss_B.sum().backward()
    assert weight.grad is not None
    return loss_B.detach(), spikes_TBN.detach()[:, :, 0], weight.grad


FIGURES: dict[str, Callable[[], Figure]] = {
    "psp": psp,
    "surrogates": surrogates,
    "credit": credit,
    "passed_back": passed_back,
    "one_weight": one_weight,
}


def _figure(columns: int, rows: int = 1, height: float = 3.2, **options: bool) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def svg(name: str) -> str:
    """A figure as SVG, the same bytes every time."""
    with matplotlib.rc_context(STYLE):
        text = io.StringIO()
        FIGURES[name]().savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        (folder / f"{name}.svg").write_text(svg(name), encoding="utf-8")
        print(folder / f"{name}.svg")
