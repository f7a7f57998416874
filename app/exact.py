"""Learning rules against exact gradients in continuous time: ``python -m app.verify --exact PATH…``.

A file holds a network of two layers that was simulated event by event, without steps: τ_syn dI/dt = −I, an input spike
adds its weight to I; τ_mem dV/dt = −V + I; a spike at V = θ sets V to 0 and leaves I alone. It gives spike times and
the exact gradient of L = Σ_k c_k t_k over the output spikes. Here the network runs in ever smaller steps Δ, with

    α_I = e^{−Δ/τ_syn}   α_V = e^{−Δ/τ_mem}   β_I = 1   β_V = (α_V − α_I) τ_syn / (τ_mem − τ_syn),

for which V[t] is the potential of the continuous neuron at the end of step t if spikes come in at the start of their
steps. A rule is right when its gradients approach the exact ones. Least slopes are off: they are meant for whole steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import UserError
from .golden import read_arrays, relative_error
from .jumps import Layer, Spikes
from .layers import Channels
from .network import Network
from .neuron.lif import Neuron
from .rules import RULES, Rule
from .rules.layer_rule import LayerRule

EXACT_TOLERANCE = 0.02
"""EventProp's relative error at the smallest step must be below."""
JUDGED = "eventprop"
COARSEST, LEVELS = 25, 11
"""The first step is the shorter time constant / 25; each further one is shorter by √10."""
MOST_STEPS = 2500
"""Rules that act in every step run on the plain engine, in so many steps at most."""
MARGIN = 0.1
"""The window ends so many synaptic time constants behind the last spike."""
LONGEST_S = 1e3
CONSTANTS = ("tau_mem_s", "tau_syn_s", "threshold")
LAYERS = ("hidden", "output")

Arrays = dict[str, NDArray[Any]]
"""Times and weights in float64, numbers of neurons as integers, by name."""
Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
"""An array for each of the two layers."""


@dataclass(frozen=True)
class ExactCase:
    """One file.

    Args:
        path: where it is.
        tau_mem_s, tau_syn_s, threshold: the neuron.
        arrays: everything else, by the names in the file.
    """

    path: Path
    tau_mem_s: float
    tau_syn_s: float
    threshold: float
    arrays: Arrays

    def trains(self, layer: str) -> list[NDArray[np.float64]]:
        """The spike times of every neuron of a layer, in seconds."""
        times, neurons = self.arrays[f"{layer}_times_s"], self.arrays[f"{layer}_neurons"]
        size = self.arrays["weight1_MN" if layer == "hidden" else "weight2_MN"].shape[1]
        return [times[neurons == n] for n in range(size)]

    @property
    def end_s(self) -> float:
        """The end of the window."""
        last = max(float(self.arrays[f"{layer}_times_s"].max(initial=0.0)) for layer in ("input", *LAYERS))
        return last + MARGIN * self.tau_syn_s

    def neuron(self, step_s: float, reset: Any = "potential") -> Neuron:
        """The neuron in steps."""
        alpha_v, alpha_i = math.exp(-step_s / self.tau_mem_s), math.exp(-step_s / self.tau_syn_s)
        if self.tau_mem_s == self.tau_syn_s:
            beta_v = alpha_v * step_s / self.tau_mem_s
        else:
            beta_v = (alpha_v - alpha_i) * self.tau_syn_s / (self.tau_mem_s - self.tau_syn_s)
        return Neuron(alpha_v, alpha_i, beta_v, threshold=self.threshold, reset=reset)


class Cuts(NamedTuple):
    """Until when the spikes of each neuron count, in seconds, by layer: a file may leave out a neuron's last spikes."""

    hidden: list[float]
    output: list[float]


class Run(NamedTuple):
    """The network in steps.

    Args:
        layers: the two layers, which have run.
        trains: the spikes that count, of both layers.
        same: whether these are the file's spikes, neuron by neuron.
        time_error_s: the root mean square error of the times of spikes that both have.
        output_error_E: dL/dt̂ of the output spikes, per step.
    """

    layers: tuple[Layer, Layer]
    trains: tuple[Spikes, Spikes]
    same: bool
    time_error_s: float
    output_error_E: NDArray[np.float64]


class Row(NamedTuple):
    """One line of the table: the gradients' relative errors by rule, of both matrices."""

    step_s: float
    steps: int
    same: bool
    time_error_s: float
    errors: dict[str, tuple[float, float] | None]


def read_exact(path: Path) -> ExactCase:
    """Read and check a file.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    arrays = read_arrays(path)
    events = [f"{layer}_{what}" for layer in ("input", *LAYERS) for what in ("times_s", "neurons")]
    matrices = ["weight1_MN", "weight2_MN", "grad_weight1_MN", "grad_weight2_MN"]
    for key in (*CONSTANTS, *events, *matrices, "output_error_per_s"):
        if key not in arrays:
            raise UserError(f"{path}: array {key!r} is missing; --exact needs all that its README lists")
        if arrays[key].dtype.kind not in "iuf" or not np.isfinite(arrays[key]).all():
            raise UserError(f"{path}: array {key!r} must hold finite numbers")
    for key in CONSTANTS:
        if arrays[key].shape != () or not 1e-9 < arrays[key] < 1e9:
            raise UserError(f"{path}: {key} must be one positive number")
    sizes = _sizes(path, arrays)
    for layer, size in zip(("input", *LAYERS), sizes, strict=True):
        times, neurons = arrays[f"{layer}_times_s"], arrays[f"{layer}_neurons"]
        if times.ndim != 1 or times.shape != neurons.shape or neurons.dtype.kind not in "iu":
            raise UserError(f"{path}: {layer}_times_s and {layer}_neurons must be lists of equal length, of integers")
        if len(times) and (min(neurons.min(), times.min()) < 0 or neurons.max() >= size or times.max() > LONGEST_S):
            raise UserError(f"{path}: {layer} spikes must be of neurons 0 to {size - 1}, at 0 s or later")
        if (np.diff(times) < 0).any():
            raise UserError(f"{path}: {layer}_times_s must be sorted")
    if arrays["output_error_per_s"].shape != arrays["output_times_s"].shape or not len(arrays["output_times_s"]):
        raise UserError(f"{path}: output_error_per_s must have one number for each output spike, and there must be any")
    constants = {key: float(arrays.pop(key)) for key in CONSTANTS}
    wide = {key: a.astype(np.float64) if a.dtype.kind == "f" else a for key, a in arrays.items()}
    return ExactCase(path, arrays=wide, **constants)


def _sizes(path: Path, arrays: Arrays) -> tuple[int, int, int]:
    first, second = arrays["weight1_MN"].shape, arrays["weight2_MN"].shape
    if len(first) != 2 or len(second) != 2 or first[1] != second[0]:
        raise UserError(f"{path}: weight1_MN {first} and weight2_MN {second} must be two layers, one behind the other")
    for k, shape in enumerate((first, second), 1):
        if (found := arrays[f"grad_weight{k}_MN"].shape) != shape:
            raise UserError(f"{path}: grad_weight{k}_MN has shape {found}, its weights have {shape}")
    return first[0], first[1], second[1]


# --- in steps ---------------------------------------------------------------------------------------------------------


def in_steps(case: ExactCase, step_s: float, cuts: Cuts | None = None, reset: Any = "potential") -> Run:
    """Run a file's network in steps of ``step_s`` seconds."""
    neuron, steps = case.neuron(step_s, reset), math.ceil(case.end_s / step_s)
    heard = Spikes(np.floor(case.arrays["input_times_s"] / step_s + 0.5).astype(int), case.arrays["input_neurons"])
    layers = (Layer(case.arrays["weight1_MN"], neuron, steps), Layer(case.arrays["weight2_MN"], neuron, steps))
    trains, same, squares, error = [], True, [], np.empty(0)
    for name, layer in zip(LAYERS, layers, strict=True):
        heard = layer.run(heard)
        times_E = (heard.steps_E + 0.5) * step_s  # a spike of step t happened somewhere in it
        if cuts is not None:
            kept = times_E <= np.array(getattr(cuts, name))[heard.neurons_E]
            heard, times_E = Spikes(heard.steps_E[kept], heard.neurons_E[kept]), times_E[kept]
        trains.append(heard)
        error = np.zeros(len(times_E))
        for n, listed in enumerate(case.trains(name)):
            own = np.flatnonzero(heard.neurons_E == n)
            both = min(len(own), len(listed))
            same &= len(own) == len(listed)
            squares += ((times_E[own[:both]] - listed[:both]) ** 2).tolist()
            if name == "output":
                given = case.arrays["output_error_per_s"][case.arrays["output_neurons"] == n]
                error[own[:both]] = given[:both] * step_s
    rms = math.sqrt(sum(squares) / len(squares)) if squares else math.nan
    return Run(layers, (trains[0], trains[1]), same, rms, error)


def find_cuts(case: ExactCase, step_s: float) -> Cuts | None:
    """Where a neuron fires on behind the last spike that the file lists: halfway between the two.

    Returns:
        None when the network in steps lacks spikes that the file lists.
    """
    cuts = Cuts([], [])
    for layer, cut in zip(LAYERS, cuts, strict=True):
        run = in_steps(
            case, step_s, Cuts(cuts.hidden, [math.inf] * case.arrays["weight2_MN"].shape[1]) if cuts.hidden else None
        )
        train = run.trains[LAYERS.index(layer)]
        for n, listed in enumerate(case.trains(layer)):
            own = train.steps_E[train.neurons_E == n] * step_s
            if len(own) < len(listed):
                return None
            behind = own[len(listed) :]
            last = listed[-1] if len(listed) else 0.0
            cut.append((last + behind[0]) / 2 if len(behind) else math.inf)
    return cuts


def gradients(run: Run, rule: Rule) -> Pair:
    """dL/dW of both layers by a rule that acts at spikes alone."""
    above = run.layers[1].differentiate(rule, run.trains[1], run.output_error_E)
    below = run.layers[0].differentiate(rule, run.trains[0], above.times_E)
    return below.weight_MN, above.weight_MN


def gradients_of_engine(case: ExactCase, run: Run, rule: Rule) -> Pair:
    """The same by the plain engine, for any rule."""
    first, second = run.layers
    sizes = (*first.weight_MN.shape, second.weight_MN.shape[1])
    network = Network(
        [str(sizes[0]), f"fc{sizes[1]}", f"fc{sizes[2]}"], first.neuron, rule, engine="layerwise"
    ).double()
    for module, layer in zip(network.spiking, run.layers, strict=True):
        module.weight.data = torch.from_numpy(layer.weight_MN.T.copy())
    spikes = torch.zeros(first.steps, 1, sizes[0], dtype=torch.float64)
    np.add.at(spikes.numpy()[:, 0], first.heard, 1)
    kept = torch.zeros(first.steps, 1, sizes[1], dtype=torch.float64)
    kept[run.trains[0].steps_E, 0, run.trains[0].neurons_E] = 1

    def cut(module: Any, given: Any, channels: Channels) -> Channels:
        return channels[0] * kept, channels[1] * kept

    network.layers[0].register_forward_hook(cut)
    error = torch.zeros(second.steps, 1, sizes[2], dtype=torch.float64)
    error[run.trains[1].steps_E, 0, run.trains[1].neurons_E] = torch.from_numpy(run.output_error_E)
    (network(spikes).times_TBN * error).sum().backward()
    below, above = (layer.weight.grad for layer in network.spiking)
    assert below is not None
    assert above is not None
    return below.numpy().T, above.numpy().T


# --- the table --------------------------------------------------------------------------------------------------------


def compared_rules() -> dict[str, Rule]:
    """All equations that learn from spike times, the judged one first, without least slopes."""
    names = [JUDGED, *(name for name in RULES if name != JUDGED)]
    made = {name: RULES[name]() for name in names}
    return {name: _without_limit(rule) for name, rule in made.items() if _is_compared(rule)}


def _is_compared(rule: Rule) -> bool:
    return rule.learns_from_times and not isinstance(rule, LayerRule)


def _without_limit(rule: Rule) -> Rule:
    return replace(rule, min_slope=1e-30) if "min_slope" in rule.settings() else rule  # type: ignore[type-var]


def step_sizes(case: ExactCase) -> list[float]:
    """The steps of the table, in seconds."""
    return [min(case.tau_mem_s, case.tau_syn_s) / COARSEST / math.sqrt(10) ** level for level in range(LEVELS)]


def table(case: ExactCase, cuts: Cuts | None) -> Iterator[Row]:
    """The rows, from the largest step to the smallest."""
    rules = compared_rules()
    exact = [torch.from_numpy(case.arrays[f"grad_weight{k}_MN"]) for k in (1, 2)]
    for step_s in step_sizes(case):
        run = in_steps(case, step_s, cuts)
        errors: dict[str, tuple[float, float] | None] = {}
        for name, rule in rules.items():
            if not rule.learns_from_spikes:
                found = gradients(run, rule)
            elif run.layers[0].steps <= MOST_STEPS:
                found = gradients_of_engine(case, run, rule)
            else:
                errors[name] = None
                continue
            first, second = (relative_error(torch.from_numpy(g.copy()), e) for g, e in zip(found, exact, strict=True))
            errors[name] = (first, second)
        yield Row(step_s, run.layers[0].steps, run.same, run.time_error_s, errors)


def verify_exact(paths: list[Path], tolerance: float) -> int:
    """Print the table of every file; 0 when the judged rule's errors fall with Δ and end below the tolerance."""
    passed = 0
    cases = [read_exact(path) for path in paths]
    for case in cases:
        passed += _verify(case, tolerance)
    print(f"{len(cases)} files: {JUDGED} converges to the exact gradients of {passed}")
    return 0 if passed == len(cases) else 1


def _verify(case: ExactCase, tolerance: float) -> bool:
    """Print one file's table; whether the judged rule passes."""
    sizes = (*case.arrays["weight1_MN"].shape, case.arrays["weight2_MN"].shape[1])
    taus = f"tau_mem {case.tau_mem_s * 1e3:g} ms, tau_syn {case.tau_syn_s * 1e3:g} ms"
    counts = [len(case.arrays[f"{layer}_times_s"]) for layer in ("input", *LAYERS)]
    print(f"{case.path.name}: {'-'.join(map(str, sizes))}, {taus}, spikes {' '.join(map(str, counts))}")
    smallest = step_sizes(case)[-1]
    cuts = find_cuts(case, smallest)
    if left_out := sum(map(math.isfinite, cuts.hidden)) if cuts else 0:
        print(f"{left_out} hidden neurons would fire on behind the last spike that the file lists; left out here, too")
    rows = _print_table(case, cuts)
    if not rows[-1].same:
        print("FAIL the spikes of the smallest step are not those of the file\n")
        return False
    judged: list[Any] = [row.errors[JUDGED] for row in rows if row.same]
    falls = all(last < first for first, last in zip(judged[0], judged[-1], strict=True))
    ends = max(judged[-1]) < tolerance
    how = f"{'falls' if falls else 'does not fall'} with the step and ends {'below' if ends else 'above'} {tolerance:g}"
    print(f"{'ok  ' if falls and ends else 'FAIL'} {JUDGED}: its error {how}")
    print(f"     with both states reset, the gradients of timing differ from its own by {shared(case, smallest):.1e}")
    print(f"     in the largest steps, its gradients on the plain engine differ by {engine_difference(case):.1e}\n")
    return falls and ends


def _print_table(case: ExactCase, cuts: Cuts | None) -> list[Row]:
    names, rows = [*compared_rules()], []
    print(f"{'step_us':>9} {'steps':>8} {'spikes':>6} {'time_us':>9}  {'  '.join(f'{name:>15}' for name in names)}")
    for row in table(case, cuts):
        rows.append(row)
        start = f"{row.step_s * 1e6:9.3f} {row.steps:8} {'same' if row.same else 'differ':>6}"
        errors = [f"{e[0]:7.1e} {e[1]:7.1e}" if (e := row.errors[name]) else f"{'-':>15}" for name in names]
        print(f"{start} {row.time_error_s * 1e6:9.3f}  {'  '.join(errors)}", flush=True)
    return rows


def engine_difference(case: ExactCase) -> float:
    """How far the judged rule's gradients on the plain engine are from those here, in the largest steps."""
    run, rule = in_steps(case, step_sizes(case)[0]), compared_rules()[JUDGED]
    return _difference(gradients(run, rule), gradients_of_engine(case, run, rule))


def _difference(found: Pair, expected: Pair) -> float:
    pairs = zip(found, expected, strict=True)
    return max(relative_error(torch.from_numpy(f.copy()), torch.from_numpy(e.copy())) for f, e in pairs)


def shared(case: ExactCase, step_s: float) -> float:
    """The relative difference between the gradients of EventProp and of the timing rule when spikes reset both states.

    The same weights make another network then, which the file does not know: its output spikes get the errors 1, −1, …
    """
    run = in_steps(case, step_s, reset="both")
    signs = np.where(np.arange(len(run.output_error_E)) % 2, -step_s, step_s)
    rules = compared_rules()
    run = run._replace(output_error_E=signs)
    return _difference(gradients(run, rules["timing"]), gradients(run, rules[JUDGED]))
