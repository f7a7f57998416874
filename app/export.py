"""Write a trained network as a NIR file: ``python -m app.export ckpt=<file or run folder> out.nir [key=value …]``.

Other frameworks (Norse, snnTorch, …) read it. docs/EXCHANGE.md says what they then compute.

  dt_s=1e-4               the time that the reader takes for one step, in seconds
  discretisation=euler    how it steps: euler (alpha = 1 - dt/tau) or exponential (alpha = exp(-dt/tau))
  allow_other_reset=true  write neuron.reset=both or subtract too, which NIR does not have: other spikes there
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import cast, get_args

from .arguments import read_arguments, wants_help
from .errors import UserError, run_command
from .exchange import DT_S, Discretisation, nir_package, to_nir
from .files import replacing
from .training.trained import load_trained

KEYS = ("ckpt", "out", "dt_s", "discretisation", "allow_other_reset")
VALUES = {"discretisation": get_args(Discretisation), "allow_other_reset": ("false", "true")}


def main(argv: list[str]) -> int:
    """Export; prints what was written."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=KEYS, words="OUT.nir")
    values, words = given.values, given.words
    out = values.get("out", words[0] if words else None)
    if "ckpt" not in values or out is None or len(words) + ("out" in values) != 1:
        raise UserError("say what to write and where, for example ckpt=runs/digits-antlr-latency-s0 out.nir")
    nir = nir_package()
    path = Path(out).expanduser()
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; make it, or write elsewhere")
    allow, dt_s = values.get("allow_other_reset", "false"), values.get("dt_s", str(DT_S))
    if allow not in ("true", "false"):
        raise UserError(f"allow_other_reset={allow} must be true or false")
    try:
        step_s = float(dt_s)
    except ValueError:
        raise UserError(f"dt_s={dt_s} must be a number of seconds, such as 1e-4") from None
    trained = load_trained(values["ckpt"])
    network = trained.module.network
    way = cast(Discretisation, values.get("discretisation", "euler"))
    graph = to_nir(network, step_s, way, allow == "true")
    content = BytesIO()
    nir.write(content, graph)
    with replacing(path, "wb") as file:
        file.write(content.getvalue())
    print(f"{path}: {' '.join(network.spec)}, {len(graph.nodes)} nodes; one step is {step_s:g} s, {way}")
    if network.neuron.reset != "potential":
        print(f"readers reset the potential alone, this network was trained with reset={network.neuron.reset}")
    if any("v_leak" in vars(node) and node.v_leak.any() for node in graph.nodes.values()):
        print("biases are written as v_leak, which not every framework reads: docs/EXCHANGE.md")
    return 0


if __name__ == "__main__":
    run_command(main)
