"""Our costs beside those of NeuroBench's package: ``python -m benchmarks.neurobench_costs ckpt=RUN [samples=360]``.

The network is built again of PyTorch's own layers, with neurons that go step by step, because the package hooks into
these; it hears the same test samples. Needs ``pip install neurobench``.
"""

from __future__ import annotations

import torch
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import NeuroBenchModel
from torch import Tensor, nn

from app.arguments import read_arguments, wants_help
from app.errors import UserError, run_command
from app.events import SpikeEvents
from app.layers import AveragePool, MaxPool, SpikingLayer
from app.network import Network
from app.neuron.lif import Neuron
from app.operations import OperationMetrics, size
from app.training.trained import load_trained


class StepNeuron(nn.Module):
    """The neurons of a layer, a step at a time (SPEC 1, both reset)."""

    def __init__(self, neuron: Neuron, bias: Tensor) -> None:
        super().__init__()
        self.neuron, self.shift = neuron, neuron.beta_bias * bias.detach()
        self.state: tuple[Tensor, ...] | None = None

    def forward(self, drive: Tensor) -> Tensor:
        """The spikes of this step, 0 or 1."""
        n = self.neuron
        v, i, s = self.state or (torch.zeros_like(drive),) * 3
        i = n.alpha_i * (1 - s) * i + n.beta_i * drive
        v = n.alpha_v * (1 - s) * v + n.beta_v * i + self.shift.view(-1, *[1] * (drive.dim() - 2))
        s = (v >= n.threshold).to(drive)
        self.state = (v, i, s)
        return s


class Twin(NeuroBenchModel):
    """A network as the package wants it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.input_shape = network.input_shape
        self.steps = nn.Sequential(*(part for layer in network.layers for part in _parts(layer, network.neuron)))
        self.add_activation_module(StepNeuron)

    def __call__(self, batch: Tensor) -> Tensor:
        """Output spikes [B, T, N] of input spikes [B, T, *M]."""
        batch = batch.reshape(*batch.shape[:2], *self.input_shape)
        return torch.stack([self.steps(batch[:, t]) for t in range(batch.shape[1])], 1)

    def __net__(self) -> nn.Module:
        """What the package looks into."""
        return self.steps


def _parts(layer: nn.Module, neuron: Neuron) -> list[nn.Module]:
    if isinstance(layer, AveragePool | MaxPool):
        return [(nn.AvgPool2d if isinstance(layer, AveragePool) else nn.MaxPool2d)(layer.size)]
    if not isinstance(layer, SpikingLayer):
        return [nn.Flatten()]
    if layer.recurrent_weight is not None or layer.delays is not None:
        raise UserError("the twin has neither recurrent layers nor delays; give another network")
    shape, stride = layer.weight.shape, getattr(layer.synapses, "stride", 1)
    synapses: nn.Linear | nn.Conv2d = nn.Linear(shape[1], shape[0], bias=False)
    if len(shape) == 4:
        synapses = nn.Conv2d(shape[1], shape[0], shape[2], stride, shape[2] // 2, bias=False)
    synapses.weight = nn.Parameter(layer.weight.detach().clone())
    return [synapses, StepNeuron(neuron, layer.bias)]


@torch.no_grad()
def compare(network: Network, events: SpikeEvents) -> dict[str, tuple[float, float]]:
    """Every number that both know: theirs, and ours; double precision, so that both fire the same spikes."""
    network = network.double()
    twin, output, metrics = Twin(network), network(events), OperationMetrics(len(network.spiking))
    metrics.update(network, events, output)
    ours, static = {name: float(value) for name, value in metrics.compute().items()}, size(network)
    twin.register_hooks()
    out_BTN = twin(events.to_dense(torch.float64).transpose(0, 1))
    theirs = SynapticOperations()(twin, out_BTN, (out_BTN, None))
    biases = sum(layer.bias.numel() for layer in network.spiking)  # the twin's neurons hold them, where nobody counts
    found = {
        "output spikes": (float(out_BTN.sum()), float(output.spikes_TBN.sum())),
        "output spikes that differ": (0.0, float((out_BTN.transpose(0, 1) != output.spikes_TBN).sum())),
        "synaptic operations": (theirs["Effective_ACs"] + theirs["Effective_MACs"], ours["synaptic_operations"]),
        "MACs": (theirs["Effective_MACs"], ours["macs"]),
        "of a dense network": (theirs["Dense"], static.dense_synaptic_operations_per_step * events.time_steps),
        "activation sparsity": (ActivationSparsity()(twin, out_BTN, None), ours["activation_sparsity"]),
        "connection sparsity": (ConnectionSparsity()(twin), static.connection_sparsity),
        "weights": (ParameterCount()(twin), static.parameters - biases),
        "their bytes, in float64": (Footprint()(twin), static.footprint_bytes - 8 * biases),
    }
    twin.cleanup_hooks()
    return found


def main(argv: list[str]) -> int:
    """Print both columns."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=("ckpt", "samples", "data.root")).values
    if "ckpt" not in given:
        raise UserError("ckpt= is missing: name a checkpoint or a run's folder")
    trained = load_trained(given["ckpt"], [f"data.root={given['data.root']}"] if "data.root" in given else [])
    trained.data.prepare("test")
    trained.data.setup("test")
    count = min(int(given.get("samples", "360")), len(trained.data.test_set))
    batch = trained.data.test_set.__getitems__(list(range(count)))
    print(f"{'-'.join(trained.config.network)}, {count} test samples\n{'':28}{'NeuroBench':>16}{'here':>16}")
    for name, (theirs, ours) in compare(trained.module.network, batch.events).items():
        print(f"{name:28}{theirs:>16,.6g}{ours:>16,.6g}")
    return 0


if __name__ == "__main__":
    run_command(main)
