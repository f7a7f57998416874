"""Networks of every rule, run on an engine and compared with the plain one: spikes exactly, then all gradients."""

import numpy as np
import torch

from app.events import SpikeEvents
from app.network import Network
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential, Rectangular
from app.rules import activation, antlr, bptc, eventprop, timing, tssl_bp

RULES = {
    "activation": activation(),
    "rectangular": activation(Rectangular(0.8)),
    "constant": activation(Exponential(0.2, 0.0)),
    "rnn": activation(Exponential(0.3, 1.0), "rnn"),
    "slayer": activation(variant="slayer"),
    "timing": timing(),
    "eventprop": eventprop(0.05),
    "bptc": bptc(0.05),
    "tssl_bp": tssl_bp(min_slope=0.05),
    "antlr": antlr(),
    "weighted": antlr(0.5, 2.0, Exponential(0.5, 2.0), min_slope=0.2),
}


def make(spec, steps, rule=RULES["antlr"], alphas=(0.95, 0.9), max_spikes=None, seed=0, engine="auto", **options):
    """A network whose weights lean to the positive, so that all layers fire."""
    torch.manual_seed(seed)
    neuron = Neuron.auto(*alphas, steps, max_spikes=max_spikes, **options)
    network = Network(spec, neuron, rule, 0.01, engine)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(3).add_(0.9 * layer.fan_in**-0.5)
    return network


def trains(steps, batch, inputs, rate=0.1, seed=1):
    return (torch.rand(steps, batch, inputs, generator=torch.Generator().manual_seed(seed)) < rate).float()


def run(network, engine, spikes):
    """The outputs and the gradients of all parameters for random cotangents on both channels."""
    network.engine = engine
    network.zero_grad()
    output = network(spikes)
    generator = torch.Generator().manual_seed(2)
    cotangents = [torch.randn(output.spikes_TBN.shape, generator=generator) for _ in range(2)]
    sum((c * o).sum() for c, o in zip(cotangents, output[:2], strict=True)).backward()
    return output, {name: p.grad.clone() for name, p in network.named_parameters()}


def assert_close(gradients, expected):
    for name, value in expected.items():
        assert torch.isfinite(gradients[name]).all(), name
        scale = value.norm().clamp(min=1e-30)
        assert (gradients[name] - value).norm() / scale <= 1e-5, name


def compare(network, spikes):
    plain, expected = run(network, "reference", spikes)
    fast, gradients = run(network, "numba", SpikeEvents.from_dense(spikes))
    for a, b in zip(fast.layers, plain.layers, strict=True):
        assert torch.equal(a.dense_spikes(), b.dense_spikes())
        assert torch.equal(a.counts_BN, b.counts_BN)
        assert torch.equal(a.totals_TB, b.totals_TB)
    assert torch.equal(fast.spikes_TBN, plain.spikes_TBN)
    assert torch.equal(fast.times_TBN, plain.times_TBN)
    assert_close(gradients, expected)
    return plain


def poison_memory(monkeypatch):
    """Let ``np.empty`` give what no result survives that was made from it."""
    empty = np.empty

    def poisoned(*args, **kwargs):
        array = empty(*args, **kwargs)
        array.fill({"f": np.nan, "i": -(2**31), "u": 2**63 + 1, "b": True}[array.dtype.kind])
        return array

    monkeypatch.setattr(np, "empty", poisoned)
