"""What answers cost: ``python -m app.costs ckpt=<file or run folder> [mac_pj=4.6] [ac_pj=0.9] [--json] [key=value …]``.

Reads the task's test split and prints means per sample, over the whole window and up to the decision, which is the step
of the first output spike. A synaptic operation is a non-zero activation that meets a non-zero weight (NeuroBench): an
accumulation (AC) of a weight for a spike, a multiplication (MAC) behind average pooling. Biases and the neurons' own
updates are counted apart. The energy is that of the operations alone, without memory, by default of 32-bit floating
point numbers in 45 nm (Horowitz 2014).

  mac_pj=4.6           picojoules of a MAC
  ac_pj=0.9            picojoules of an AC
  --json               print {whole_window: {…}, until_decision: {…}, network: {…}, assumptions: {…}}
"""

from __future__ import annotations

import json
import math
from typing import Any

from .arguments import wants_help
from .config import command_help, parse_arguments
from .errors import UserError, run_command
from .operations import Energy, size
from .training.trained import Trained, load_trained

PICOJOULES = ("mac_pj", "ac_pj")
KEYS, FLAGS = PICOJOULES, ("json",)
JSON = "--json"
MEASURED = (
    ("synaptic operations", "synaptic_operations", ",.0f"),
    ("  by input spikes", "input_synaptic_operations", ",.0f"),
    ("  by spikes of the network", "network_synaptic_operations", ",.0f"),
    ("  of all, MACs (the rest: ACs)", "macs", ",.0f"),
    ("energy of these operations (nJ)", "energy_nj", ",.2f"),
    ("spikes", "spikes", ",.1f"),
    ("activation sparsity", "activation_sparsity", ".4%"),
    ("steps", "steps", ",.1f"),
    ("neuron updates, all in every step", "neuron_updates", ",.0f"),
)
"""Row, name, format."""
ACCURACIES = {"accuracy_first": "accuracy by first spike", "accuracy_count": "accuracy by spike count"}


def main(argv: list[str]) -> int:
    """Measure; prints a table or an object."""
    if wants_help(argv):
        print(command_help(__doc__, argv))
        return 0
    given = [argument.removeprefix("--").partition("=") for argument in argv if argument != JSON]
    energy = Energy(**{key: _picojoules(key, text) for key, _, text in given if key in PICOJOULES})
    settings = ["=".join((key, text)) if equals else key for key, equals, text in given if key not in PICOJOULES]
    arguments = parse_arguments(settings)
    if "ckpt" not in arguments:
        raise UserError("ckpt= is missing: name a checkpoint, for example ckpt=runs/digits-antlr-latency-s0")
    overrides = [argument for argument in settings if argument.partition("=")[0] != "ckpt"]
    if JSON in argv and "trainer.enable_progress_bar" not in arguments:
        overrides.append("trainer.enable_progress_bar=false")
    trained = load_trained(str(arguments["ckpt"]), overrides)
    trained.module.test_operations.energy = energy
    found, is_first = measured(trained)
    if is_first:
        print(json.dumps(found, indent=2) if JSON in argv else _table(trained, found))
    return 0


def _picojoules(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{key}={text} must be a number from 0 on, in picojoules")
    return value


def measured(trained: Trained) -> tuple[dict[str, dict[str, Any]], bool]:
    """The costs of the test split, as ``--json`` prints them, and whether this process is the one that tells them."""
    values, is_first = trained.test()
    static, energy = size(trained.module.network), trained.module.test_operations.energy
    found: dict[str, dict[str, Any]] = {}
    for name, prefix, spikes in (
        ("whole_window", "", "spikes_per_sample"),
        ("until_decision", "decision_", "decision_spikes"),
    ):
        of: dict[str, Any] = {
            key: values[f"test/{prefix}{key}"] for _, key, _ in MEASURED if f"test/{prefix}{key}" in values
        }
        of["network_synaptic_operations"] = of["synaptic_operations"] - of["input_synaptic_operations"]
        of |= {"spikes": values[f"test/{spikes}"], "steps": of["neuron_updates"] / static.neurons}
        of |= {"layers": _by_layer(values, prefix)}
        found[name] = of
    found["network"] = static._asdict() | {
        "dense_synaptic_operations": static.dense_synaptic_operations_per_step * trained.data.time_steps,
        "time_steps": trained.data.time_steps,
    }
    accuracies = {key.removeprefix("test/"): v for key, v in values.items() if key.startswith("test/accuracy_")}
    about = {"mac_pj": energy.mac_pj, "ac_pj": energy.ac_pj, "counted": "synaptic operations alone, without memory"}
    return found | {"accuracy": accuracies, "assumptions": about}, is_first


def _by_layer(values: dict[str, float], prefix: str) -> list[float]:
    """The operations that arrive at each layer."""
    arriving, k = [], 1
    while (key := f"test/layer{k}/{prefix}synaptic_operations") in values:
        arriving.append(values[key])
        k += 1
    return arriving


def _table(trained: Trained, found: dict[str, dict[str, Any]]) -> str:
    whole, until, about = found["whole_window"], found["until_decision"], found["network"]
    config, energy = trained.config, found["assumptions"]
    lines = [
        f"{config.task}, {config.rule} rule, test split, {'-'.join(config.layers)}; means per sample",
        f"  {'':36}{'whole window':>16}{'until decision':>18}",
    ]
    lines += [f"  {row:36}{whole[key]:>16{how}}{until[key]:>18{how}}" for row, key, how in MEASURED]
    for k, (one, other) in enumerate(zip(whole["layers"], until["layers"], strict=True), 1):
        lines.append(f"  {f'synaptic operations into layer {k}':36}{one:>16,.0f}{other:>18,.0f}")
    lines += [
        f"  {'a dense network of this size':36}{about['dense_synaptic_operations']:>16,.0f} synaptic operations",
        f"  {'connection sparsity':36}{about['connection_sparsity']:>16.4%}",
        f"  {'parameters':36}{about['parameters']:>16,}",
        f"  {'footprint (bytes)':36}{about['footprint_bytes']:>16,}",
        f"  energy: {energy['mac_pj']:g} pJ for a MAC, {energy['ac_pj']:g} pJ for an AC (mac_pj=, ac_pj=); "
        "memory and neuron updates are not in it",
    ]
    for key, value in found["accuracy"].items():
        lines.append(f"  {ACCURACIES.get(key, key.replace('_', ' by ')):36}{value:>16.2%}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
