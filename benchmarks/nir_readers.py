"""What other frameworks make of an exported network: ``python -m benchmarks.nir_readers ckpt=RUN``.

The NIR graph runs on the task's test split, and output spikes that differ are counted: read back here, in snnTorch
with biases as current and without biases, and in Norse with v_leak kept from the current and V begun at 0, with V begun
at v_leak, and as it is. docs/EXCHANGE.md says why. Needs ``pip install nir snntorch norse``; what is not installed is
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from importlib.util import find_spec
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app import antlr
from app.arguments import read_arguments, wants_help
from app.errors import UserError, run_command
from app.exchange import DT_S, from_nir, to_nir
from app.training.trained import load_trained


def in_snntorch(graph: Any, spikes_TBN: Tensor, bias: str = "current") -> Tensor:
    """snnTorch's output spikes [T, B, N]: it refuses v_leak, which here becomes a current, or is dropped."""
    from snntorch.import_nir import import_from_nir

    graph, currents = deepcopy(graph), {}
    for name, node in graph.nodes.items():
        if type(node).__name__ == "Flatten":
            node.start_dim = 1  # NIR's shapes have no batch axis, and snnTorch reads the number as if they had
        if type(node).__name__ == "CubaLIF" and np.any(node.v_leak):
            alpha_i, alpha_v = (1 - DT_S / float(tau.flat[0]) for tau in (node.tau_syn, node.tau_mem))
            held = torch.from_numpy(node.v_leak * (1 - alpha_v) / (node.w_in * (1 - alpha_i))).float()
            currents[name.removesuffix("_neurons")] = held, alpha_i
            node.v_leak = np.zeros_like(node.v_leak)
    with redirect_stdout(StringIO()):  # it prints every constant
        module = import_from_nir(graph)
    state, found, step = None, [], 0

    def with_current(held: Tensor, alpha_i: float) -> Callable[..., Tensor]:
        return lambda _, __, drive: drive + held * (1 - alpha_i if step else 1)

    if bias == "current":
        for name, (held, alpha_i) in currents.items():
            getattr(module, name).register_forward_hook(with_current(held, alpha_i))
    for spikes in spikes_TBN:
        output, state = module(spikes, state)
        found.append(output)
        step += 1
    return torch.stack(found)


def in_norse(graph: Any, spikes_TBN: Tensor, keeps_current: bool = True, begins_at_zero: bool = True) -> Tensor:
    """Norse's output spikes [T, B, N].

    Args:
        graph: the network.
        spikes_TBN: its input.
        keeps_current: take v_leak away from the current, to which Norse gives it too, unlike NIR.
        begins_at_zero: begin V at 0, as here; Norse begins it at v_leak.
    """
    from norse.torch import from_nir as import_from_nir

    with redirect_stdout(StringIO()):  # it prints every constant
        module = import_from_nir(graph, dt=DT_S)
    for part in module.modules():
        if type(part).__name__ == "LIBoxCell" and keeps_current:
            part.p = part.p._replace(v_leak=torch.zeros(()))
        elif type(part).__name__ == "LIFBoxCell" and begins_at_zero:
            begin = part.state_fallback
            part.state_fallback = lambda drive, begin=begin: begin(drive)._replace(v=torch.zeros_like(drive))
    state, found = None, []
    for spikes in spikes_TBN:
        output, state = module(spikes, state)
        found.append(output)
    return torch.stack(found)


def readers(graph: Any, spikes_TBN: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each reader's name and output spikes."""
    yield "app.from_nir", from_nir(graph, antlr())(spikes_TBN).spikes_TBN
    if find_spec("snntorch"):
        yield "snnTorch, biases as current", in_snntorch(graph, spikes_TBN)
        yield "snnTorch, biases dropped", in_snntorch(graph, spikes_TBN, "dropped")
    if find_spec("norse"):
        yield "Norse, with both changes", in_norse(graph, spikes_TBN)
        yield "Norse, current without v_leak, V begins at v_leak", in_norse(graph, spikes_TBN, begins_at_zero=False)
        yield "Norse as it is", in_norse(graph, spikes_TBN, False, False)


@torch.no_grad()
def main(argv: list[str]) -> int:
    """Print a line for each reader."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=("ckpt", "data.root")).values
    if "ckpt" not in given:
        raise UserError("ckpt= is missing: name a checkpoint or a run's folder")
    trained = load_trained(given["ckpt"], [f"data.root={given['data.root']}"] if "data.root" in given else [])
    trained.data.prepare("test")
    trained.data.setup("test")
    samples = trained.data.test_set
    assert samples is not None
    network = trained.module.network
    spikes_TBN = samples.__getitems__(list(range(len(samples)))).events.to_dense()
    spikes_TBN = spikes_TBN.reshape(*spikes_TBN.shape[:2], *network.input_shape)
    ours = network(spikes_TBN).spikes_TBN
    print(f"{'-'.join(network.spec)}, {len(samples)} test samples, {int(ours.sum()):,} output spikes; that differ:")
    for name, theirs in readers(to_nir(network), spikes_TBN):
        print(f"  {name:52}{int((ours != theirs).sum()):>10,}")
    return 0


if __name__ == "__main__":
    run_command(main)
