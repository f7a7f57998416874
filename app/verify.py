"""Replay golden files through every backend of this machine: ``python -m app.verify PATH… [tolerance=1e-5]``.

A golden file (``.npz``) holds one case computed by an independent implementation: input, weights, spikes, loss and all
gradients. The command prints a line per case and backend, and a total. Exit code 0: everything agrees; 1: a spike
differs or an error exceeds the tolerance; 2: a file is unusable. Errors are relative in the L2 norm, absolute where the
golden array is zero. ``--exact`` reads files of another kind and compares gradients in continuous time:
:mod:`app.exact`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import read_arguments, wants_help
from .engines import AUTO, ENGINES
from .errors import UserError, run_command
from .exact import EXACT_TOLERANCE, verify_exact
from .golden import golden_files, read_arrays, refused, relative_error
from .losses.count import count_loss
from .losses.latency import latency_loss
from .losses.silent import silent_neuron_penalty
from .losses.spike_train import spike_train_loss
from .network import Network, NetworkOutput
from .neuron.lif import Neuron
from .neuron.limits import LARGEST
from .neuron.surrogate import Exponential
from .readout import decision_steps
from .rules import Rule, activation, antlr, timing

NAMES = ("network", "rule", "loss")
SIZES = ("T", "B")
CONSTANTS = (
    "alpha_v",
    "alpha_i",
    "beta_i",
    "beta_v",
    "beta_bias",
    "threshold",
    "ste_alpha",
    "ste_beta",
    "softmax_beta",
    *("lambda_nospike", "no_spike_penalty", "kappa_exp", "kappa_extend", "grad_clip"),
)
TOLERANCE = 1e-5
KEYS, FLAGS = ("tolerance",), ("exact",)


@dataclass
class Case:
    """One golden file, with its arrays checked against the network that it names."""

    name: str
    path: Path
    meta: dict[str, Any]
    arrays: dict[str, Tensor]

    @property
    def rule(self) -> Rule:
        """The learning rule that the file was computed with."""
        surrogate = Exponential(self.meta["ste_alpha"], self.meta["ste_beta"])
        rules: dict[str, Callable[[], Rule]] = {
            "Activation": lambda: activation(surrogate),
            "Activation-RNN": lambda: activation(surrogate, "rnn"),
            "Activation-SLAYER": lambda: activation(surrogate, "slayer"),
            "Timing": timing,
            "ANTLR": lambda: antlr(1.0, 1.0, surrogate),
        }
        if self.meta["rule"] not in rules:
            raise UserError(f"{self.path}: rule {self.meta['rule']!r} is unknown; known are {', '.join(rules)}")
        return rules[self.meta["rule"]]()

    @property
    def neuron(self) -> Neuron:
        """The neuron constants of the file."""
        m = self.meta
        betas = (m["beta_v"], m["beta_i"], m["beta_bias"])
        return Neuron(m["alpha_v"], m["alpha_i"], *betas, m["threshold"], m.get("max_spikes_per_neuron"))

    def loss(self, output: NetworkOutput) -> Tensor:
        """The file's loss of a network output."""
        m, a = self.meta, self.arrays
        if m["loss"] == "count":
            return count_loss(output.spikes_TBN, a["target_count"].float())
        if m["loss"] == "latency":
            settings = {"beta_softmax": m["softmax_beta"], "lambda_no_spike": m["lambda_nospike"]}
            return latency_loss(*output[:2], a["label"], **settings)
        target_TBN = a["target_spikes"].transpose(0, 1).float()
        return spike_train_loss(*output[:2], target_TBN, kappa_exp=m["kappa_exp"], extend=m["kappa_extend"])


@dataclass
class Outcome:
    """How far one backend is from one case."""

    spikes_equal: bool = True
    decisions_equal: bool = True
    errors: dict[str, float] = field(default_factory=dict)

    def passed(self, tolerance: float) -> bool:
        """Spikes and decision spikes equal, and every error finite and within the tolerance."""
        return self.spikes_equal and self.decisions_equal and all(e <= tolerance for e in self.errors.values())


def read_case(path: Path) -> Case:
    """Read and check a golden file.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    arrays = read_arrays(path)
    if "meta" not in arrays:
        raise UserError(f"{path}: not a golden file: it has no 'meta'")
    with refused(path):
        meta = json.loads(bytes(arrays.pop("meta")))
    missing = [key for key in (*NAMES, *SIZES, *CONSTANTS) if not isinstance(meta, dict) or key not in meta]
    if missing:
        raise UserError(f"{path}: 'meta' lacks {', '.join(missing)}; write the file again with all keys")
    tensors = {key: torch.from_numpy(np.array(a)) for key, a in arrays.items() if a.dtype.kind in "iufb"}
    case = Case(str(meta.get("name", path.stem)), path, meta, tensors)
    _check(case)
    return case


def _check(case: Case) -> None:
    """Refuse a file whose constants or arrays do not fit the network that it names."""
    meta, where = case.meta, case.path
    for key in (*SIZES, *CONSTANTS):
        if not (_is_count(meta[key]) if key in SIZES else _is_number(meta[key])):
            needed = "positive integer" if key in SIZES else f"number of at most {LARGEST:.3g}"
            raise UserError(f"{where}: {key}={str(meta[key])[:60]} in 'meta' must be a {needed}")
    if not (meta.get("max_spikes_per_neuron") is None or _is_count(meta["max_spikes_per_neuron"])):
        raise UserError(f"{where}: max_spikes_per_neuron in 'meta' must be a positive integer or null")
    if not isinstance(meta["rule"], str):
        raise UserError(f"{where}: 'rule' in 'meta' must be text")
    if meta["loss"] not in ("count", "latency", "train"):
        raise UserError(f"{where}: loss {meta['loss']!r} is unknown; known are count, latency, train")
    if meta.get("term_length", meta["T"]) != meta["T"]:
        raise UserError(f"{where}: term_length {meta['term_length']} differs from T; only T is supported")
    if not (isinstance(meta["network"], list) and all(isinstance(entry, str) for entry in meta["network"])):
        raise UserError(f"{where}: 'network' in 'meta' must be a list of strings")
    with torch.device("meta"):  # shapes without memory: they are the file's claim until its arrays are compared
        network = _network(case, "layerwise")
    batch_time = (meta["B"], meta["T"])
    outputs = (network.spiking[-1].shape[0],)
    shapes: dict[str, tuple[int, ...]] = {
        "input": (*batch_time, *network.input_shape),
        "loss": (),
        "label": (meta["B"],),
    }
    shapes |= {"dL_dS_out": (*batch_time, *outputs), "dL_dt_out": (*batch_time, *outputs)}
    if meta["loss"] == "count":
        shapes["target_count"] = (meta["B"], *outputs)
    if meta["loss"] == "train":
        shapes["target_spikes"] = (*batch_time, *outputs)
    for k, layer in enumerate(network.spiking, 1):
        parameters = {"weight": tuple(layer.weight.shape), "bias": tuple(layer.bias.shape)}
        shapes |= {f"layer{k}.{key}": shape for key, shape in parameters.items()}
        shapes |= {f"layer{k}.grad_{key}": shape for key, shape in parameters.items()}
        shapes[f"layer{k}.S"] = (*batch_time, *layer.shape)
    for key, shape in shapes.items():
        if key not in case.arrays:
            raise UserError(f"{where}: array {key!r} is missing; write the file again with it")
        if tuple(case.arrays[key].shape) != shape:
            raise UserError(
                f"{where}: array {key!r} has shape {tuple(case.arrays[key].shape)}, the network needs {shape}"
            )
    label = case.arrays["label"]
    if label.is_floating_point() or not bool(((label >= 0) & (label < outputs[0])).all()):
        raise UserError(f"{where}: array 'label' must hold classes from 0 to {outputs[0] - 1}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _network(case: Case, engine: str) -> Network:
    try:
        return Network(case.meta["network"], case.neuron, case.rule, engine=engine)
    except ValueError as error:
        raise UserError(f"{case.path}: {error}") from None


def backends(case: Case) -> Iterator[tuple[str, str, str]]:
    """(name, engine, device) of everything on this machine that can run the case."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        network = _network(case, AUTO).to(device)
        for name, engine in ENGINES.items():
            if engine.obstacle(network, None) is None:
                yield name if device == "cpu" else f"{name}-{device}", name, device


def replay(case: Case, engine: str, device: str) -> Outcome:
    """Run a case through one backend and compare everything that the file holds."""
    network = _network(case, engine)
    for k, layer in enumerate(network.spiking, 1):
        layer.weight.data = case.arrays[f"layer{k}.weight"].float()
        layer.bias.data = case.arrays[f"layer{k}.bias"].float()
    network.to(device)
    arrays = {key: array.to(device) for key, array in case.arrays.items()}
    moved = Case(case.name, case.path, case.meta, arrays)
    output = network(arrays["input"].transpose(0, 1).float())
    for channel in output[:2]:
        channel.retain_grad()
    loss = moved.loss(output)
    (loss + _penalty(moved, network, output)).backward()
    return _compare(moved, network, output, loss)


def _penalty(case: Case, network: Network, output: NetworkOutput) -> Tensor | float:
    if not case.meta["no_spike_penalty"]:
        return 0.0
    return sum(
        silent_neuron_penalty(layer.weight, activity.silent_share_N, case.meta["no_spike_penalty"])
        for layer, activity in zip(network.spiking, output.layers, strict=True)
        if layer.weight.dim() == 2
    )


def _compare(case: Case, network: Network, output: NetworkOutput, loss: Tensor) -> Outcome:
    golden, outcome = case.arrays, Outcome()
    decision_B = decision_steps(output.spikes_TBN.detach())
    until_decision = []
    for k, activity in enumerate(output.layers, 1):
        spikes_BTN = activity.dense_spikes().flatten(2).transpose(0, 1)
        outcome.spikes_equal &= bool(torch.equal(spikes_BTN != 0, golden[f"layer{k}.S"].flatten(2) != 0))
        until_decision.append(int(activity.count_until(decision_B).sum()))
    outcome.decisions_equal = until_decision == case.meta.get("spikes_until_decision", until_decision)
    clip = case.meta["grad_clip"]
    outcome.errors["loss"] = relative_error(loss.detach(), golden["loss"])
    for name, channel in (("dL/dS", output.spikes_TBN), ("dL/dt", output.times_TBN)):
        grad = torch.zeros_like(channel) if channel.grad is None else channel.grad
        outcome.errors[name] = relative_error(grad.transpose(0, 1), golden[f"{name.replace('/', '_')}_out"])
    for k, layer in enumerate(network.spiking, 1):
        for key in ("weight", "bias"):
            grad = getattr(layer, key).grad.clamp(-clip, clip)
            outcome.errors[f"d{key}{k}"] = relative_error(grad, golden[f"layer{k}.grad_{key}"])
    return outcome


def main(argv: list[str]) -> int:
    """Verify the files named in ``argv``; see the module's docstring for the exit codes."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=KEYS, flags=FLAGS, words="PATH")
    exact = "exact" in given.flags
    tolerance = _tolerance(given.values.get("tolerance", str(EXACT_TOLERANCE if exact else TOLERANCE)))
    if not given.words:
        raise UserError("PATH is missing: name a golden file (.npz) or a folder of them")
    if exact:
        return verify_exact(golden_files(given.words), tolerance)
    cases = [read_case(path) for path in golden_files(given.words)]
    width = max(len(case.name) for case in cases)
    checks = failures = 0
    for case in cases:
        for name, engine, device in backends(case):
            outcome = replay(case, engine, device)
            passed = outcome.passed(tolerance)
            checks, failures = checks + 1, failures + (not passed)
            print(f"{'ok  ' if passed else 'FAIL'} {case.name:{width}} {name:12} {_line(outcome)}", flush=True)
    print(f"{len(cases)} cases, {checks} checks: {checks - failures} passed, {failures} failed")
    return 1 if failures else 0


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise UserError(f"tolerance={text} must be a number that is not negative")
    return value


def _line(outcome: Outcome) -> str:
    spikes = "equal" if outcome.spikes_equal else "DIFFER"
    decisions = "" if outcome.decisions_equal else "  decision spikes DIFFER"
    return f"spikes {spikes}{decisions}  " + "  ".join(f"{key} {error:.1e}" for key, error in outcome.errors.items())


if __name__ == "__main__":
    run_command(main)
