"""Fully connected layers in ever so small steps: the time loops of the plain engine, jumped from spike to spike.

Between spikes both states of a neuron, and both of its errors, are multiplied by constants in every step, so that k
steps are one product with their k-th powers. What comes out is what the loops of :mod:`app.kernels.reference` compute
in float64, at a cost that depends on the number of spikes alone: steps may be as small as one likes. For one sample,
neurons without bias and limit and with α_I > 0, and rules with δV = 0 wherever the neuron does not fire.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .equations import values
from .neuron.lif import Neuron
from .rules.rule import Rule


class Spikes(NamedTuple):
    """The spikes of one layer, sorted by step and then by neuron."""

    steps_E: NDArray[np.int64]
    neurons_E: NDArray[np.int64]


class LayerGradients(NamedTuple):
    """What a layer hands back.

    Args:
        weight_MN: dL/dW, [pre, post].
        times_E: dL/dt̂ of every spike that came in, per step.
    """

    weight_MN: NDArray[np.float64]
    times_E: NDArray[np.float64]


class _Fired(NamedTuple):
    """A spike of one neuron, with its states before the reset and V of the step before, after its own reset."""

    step: int
    potential: float
    before: float
    current: float


class Layer:
    """One fully connected layer: :meth:`run` it, then :meth:`differentiate` it.

    Args:
        weight_MN: the weights, [pre, post].
        neuron: the constants.
        steps: T.
    """

    def __init__(self, weight_MN: NDArray[np.float64], neuron: Neuron, steps: int) -> None:
        self.weight_MN, self.neuron, self.steps = weight_MN, neuron, steps
        self.heard = Spikes(np.empty(0, int), np.empty(0, int))
        self._fired: list[list[_Fired]] = []

    def run(self, heard: Spikes) -> Spikes:
        """The spikes of this layer while it hears others."""
        self.heard = heard
        self._fired = [[*self._spikes_of(n)] for n in range(self.weight_MN.shape[1])]
        spikes = sorted((fired.step, n) for n, own in enumerate(self._fired) for fired in own)
        return Spikes(np.array([t for t, _ in spikes], int), np.array([n for _, n in spikes], int))

    def differentiate(self, rule: Rule, spikes: Spikes, times_E: NDArray[np.float64]) -> LayerGradients:
        """The gradients for the errors dL/dt̂ of this layer's spikes, per step.

        Args:
            rule: whose equation gives δV.
            spikes: these spikes; others of the layer have no error.
            times_E: their errors.
        """
        weight_MN, into_E = np.zeros_like(self.weight_MN), np.zeros(len(self.heard.steps_E))
        for n, own in enumerate(self._fired):
            mine = spikes.neurons_E == n
            errors = dict(zip(spikes.steps_E[mine].tolist(), times_E[mine].tolist(), strict=True))
            for e, drive, shift in self._errors_of(own, errors, rule):
                weight_MN[self.heard.neurons_E[e], n] += drive
                into_E[e] += self.weight_MN[self.heard.neurons_E[e], n] * shift
        return LayerGradients(weight_MN, into_E)

    def _spikes_of(self, n: int) -> Iterator[_Fired]:
        """All spikes of one neuron: see :func:`app.kernels.reference.forward`."""
        neuron, heard = self.neuron, self.heard
        at, drives = np.unique(heard.steps_E, return_inverse=True)
        drives = np.bincount(drives, self.weight_MN[heard.neurons_E, n], len(at))
        t, potential, current = -1, 0.0, 0.0
        for step, drive in [*zip(at.tolist(), drives.tolist(), strict=True), (self.steps, 0.0)]:
            while t < step:
                quiet = step - 1 - t  # steps without any input
                k = _crossing(potential, current, quiet, neuron)
                if k is None:  # none of them reaches the threshold: go to the step of the input
                    before, current = _ahead(potential, current, quiet, neuron)
                    t = step
                    current = current * neuron.alpha_i + drive * neuron.beta_i
                    potential = before * neuron.alpha_v + current * neuron.beta_v
                    if potential < neuron.threshold or t == self.steps:
                        continue
                else:
                    before, _ = _ahead(potential, current, k - 1, neuron)
                    potential, current = _ahead(potential, current, k, neuron)
                    t += k
                yield _Fired(t, potential, before, current)
                potential = potential - neuron.threshold if neuron.reset == "subtract" else 0.0
                current = 0.0 if neuron.reset == "both" else current

    def _errors_of(self, own: list[_Fired], errors: dict[int, float], rule: Rule) -> Iterator[tuple[int, float, float]]:
        """Of every spike that came in: its number, β_I δI and the error of its time, see ``reference.adjoint``."""
        neuron, heard = self.neuron, self.heard
        fired = {one.step: one for one in own}
        came: dict[int, list[int]] = {}
        for e, step in enumerate(heard.steps_E.tolist()):
            came.setdefault(step, []).append(e)
        t, d_potential, d_current = self.steps, 0.0, 0.0
        for step in sorted({*fired, *came}, reverse=True):
            d_potential, d_current = _back(d_potential, d_current, t - 1 - step, neuron)
            t, error = step, 0.0
            if step in fired:
                error = _membrane_error(fired[step], errors.get(step, 0.0), d_potential, d_current, neuron, rule)
                d_potential = d_potential if neuron.reset == "subtract" else 0.0
                d_current = 0.0 if neuron.reset == "both" else d_current
            later = d_current
            d_potential = error + neuron.alpha_v * d_potential
            d_current = neuron.beta_v * d_potential + neuron.alpha_i * d_current
            ahead = neuron.alpha_i * d_current + neuron.beta_v * neuron.alpha_v * d_potential
            for e in came.get(step, ()):
                yield e, neuron.beta_i * d_current, (later - ahead) * neuron.beta_i / 2


def _membrane_error(
    fired: _Fired, error_t: float, later_error: float, later_current_error: float, neuron: Neuron, rule: Rule
) -> float:
    """δV at a spike, by the rule's equation."""
    subtracts = neuron.reset == "subtract"
    numbers = {
        "error_t": error_t,
        "potential": fired.potential,
        "slope": fired.potential - fired.before,
        "current": fired.current,
        "lost_potential": neuron.threshold if subtracts else fired.potential,
        "lost_current": fired.current if neuron.reset == "both" else 0.0,
        "bias": 0.0,
        "later_error": later_error,
        "later_current_error": later_current_error,
    }
    known = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    known["spikes"] = torch.tensor(True)
    constants = {name: getattr(neuron, name) for name in ("alpha_v", "alpha_i", "beta_v", "beta_i")}
    constants |= {"theta": neuron.threshold, "keeps_potential": float(subtracts)}
    return float(rule.equation(*values(rule.parameters(), known, constants, rule.settings())))


def _sum_of_powers(k: int, neuron: Neuron) -> float:
    """Σ_{j=1..k} α_I^j α_V^{k−j}."""
    if neuron.alpha_v == neuron.alpha_i:
        return k * neuron.alpha_v**k
    difference = neuron.alpha_v**k - neuron.alpha_i**k
    return neuron.alpha_i * difference / (neuron.alpha_v - neuron.alpha_i)


def _ahead(potential: float, current: float, k: int, neuron: Neuron) -> tuple[float, float]:
    """V and I after k steps without input and spikes."""
    later = potential * neuron.alpha_v**k + neuron.beta_v * current * _sum_of_powers(k, neuron)
    return later, current * neuron.alpha_i**k


def _back(d_potential: float, d_current: float, k: int, neuron: Neuron) -> tuple[float, float]:
    """δV_dep and δI before k steps without errors and spikes."""
    mixed = neuron.alpha_v * _sum_of_powers(k, neuron) / neuron.alpha_i
    return d_potential * neuron.alpha_v**k, d_current * neuron.alpha_i**k + neuron.beta_v * d_potential * mixed


def _crossing(potential: float, current: float, steps: int, neuron: Neuron) -> int | None:
    """The first of ``steps`` steps without input after which V is at the threshold; None when there is none.

    V is a difference of two decaying powers, hence has one extremum at most.
    """
    if steps < 1:
        return None

    def reaches(k: int) -> bool:
        return _ahead(potential, current, k, neuron)[0] >= neuron.threshold

    high = steps
    if not reaches(high):
        high = _peak(potential, current, steps, neuron)
        if not reaches(high):
            return None
    low = 0  # here V is below the threshold, or the neuron has just been reset
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _peak(potential: float, current: float, steps: int, neuron: Neuron) -> int:
    """The step from 1 to ``steps`` with the highest V."""
    low, high = 1, steps
    while low < high:
        middle = (low + high) // 2
        here, next_one = (_ahead(potential, current, k, neuron)[0] for k in (middle, middle + 1))
        low, high = (middle + 1, high) if next_one > here else (low, middle)
    return low
