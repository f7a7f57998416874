"""Networks and runs with which an engine is compared with the plain one."""

import pytest
import torch

from app.network import Network
from app.neuron.lif import Neuron


class Twins:
    """Runs the same network on two engines."""

    def __init__(self, engine: str) -> None:
        self.engine = engine

    def make(self, spec, steps, rule, alphas=(0.95, 0.9), seed=0, **options):
        """A network whose weights lean to the positive, so that all layers fire."""
        torch.manual_seed(seed)
        network = Network(spec, Neuron.auto(*alphas, steps, **options), rule, 0.01)
        with torch.no_grad():
            for layer in network.spiking:
                layer.weight.mul_(3).add_(0.9 * layer.fan_in**-0.5)
        return network

    def trains(self, steps, batch, shape, rate=0.2, seed=1):
        return (torch.rand(steps, batch, *shape, generator=torch.Generator().manual_seed(seed)) < rate).float()

    def run(self, network, engine, spikes, price=0.3):
        """The output and the gradients of all parameters for random cotangents on both channels and the decision."""
        network.engine = engine
        network.zero_grad()
        output = network(spikes)
        generator = torch.Generator().manual_seed(2)
        loss = price * output.decision_BL.sum()
        for channel in output[:2]:
            loss = loss + (torch.randn(channel.shape, generator=generator) * channel).sum()
        loss.backward()
        return output, {name: p.grad.clone() for name, p in network.named_parameters()}

    def compare(self, network, spikes):
        """Spikes and counts are equal, gradients agree to 1e-5; returns the plain output."""
        plain, expected = self.run(network, "layerwise", spikes)
        fast, gradients = self.run(network, self.engine, spikes)
        for a, b in zip(fast.layers, plain.layers, strict=True):
            assert torch.equal(a.dense_spikes(), b.dense_spikes())
            assert torch.equal(a.counts_BN, b.counts_BN)
            assert torch.equal(a.totals_TB, b.totals_TB)
        for one, two in ((0, 0), (1, 1), (3, 3)):
            assert torch.equal(fast[one], plain[two])
        self.assert_close(gradients, expected)
        return plain

    @staticmethod
    def assert_close(gradients, expected):
        for name, value in expected.items():
            assert torch.isfinite(gradients[name]).all(), name
            assert (gradients[name] - value).norm() <= 1e-5 * value.norm().clamp(min=1e-30), name


@pytest.fixture
def twins(monkeypatch):
    """The Triton engine, interpreted."""
    pytest.importorskip("triton", reason="Triton is not installed; see requirements-dev.txt")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return Twins("triton")
