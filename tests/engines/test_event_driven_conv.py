"""Convolution, pooling and flatten in the event-driven engine, against the plain one: spikes, then all gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from app.engines.event_driven import EventDriven
from app.events import SpikeEvents
from app.kernels.images import add_drives
from app.kernels.layout import Stack
from app.kernels.routes import Cells
from app.kernels.wiring import Plan, wire
from app.layers import AveragePool, MaxPool
from app.network import Network
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential
from app.readout import decision_steps
from app.rules import activation, antlr, timing
from tests.support.networks import poison_memory

RULES = {
    "activation": activation(),
    "rnn": activation(Exponential(0.3, 1.0), "rnn"),
    "slayer": activation(variant="slayer"),
    "timing": timing(),
    "antlr": antlr(),
}
NETWORKS = {
    "one": ["2x6x6", "conv4c3", "flatten", "fc10"],
    "average": ["2x6x7", "conv4c3", "apool2", "conv3c3", "flatten", "fc10"],
    "maximum": ["2x7x9", "conv4c3", "mpool2", "conv5c3", "mpool3", "flatten", "fc10"],
    "dense behind": ["1x6x6", "conv4c5", "apool2", "flatten", "fc70", "fc33", "fc10"],
    "stride": ["1x12x11", "conv3c5s3", "conv7c3s2", "flatten", "fc10"],
    "pooled input": ["2x13x12", "apool3", "conv6c3", "flatten", "fc10"],
    "pools in a row": ["2x13x12", "conv6c3", "apool2", "mpool2", "conv3c3", "mpool3", "apool1", "flatten", "fc10"],
    "more channels than lanes": ["1x5x4", "conv70c3", "conv66c1", "flatten", "fc10"],
    "rows long enough for points": ["1x5x19", "conv4c3", "conv5c5", "conv3c7", "flatten", "fc10"],
    "large kernel": ["3x4x4", "conv5c9", "conv33c7s2", "flatten", "fc10"],
    "one position": ["2x1x1", "conv5c3", "flatten", "fc10"],
    "pools to one": ["1x6x6", "conv8c3", "apool6", "flatten", "fc10"],
}
STEPS, BATCH = 30, 3


def make(spec, rule=RULES["antlr"], steps=STEPS, engine="auto", max_spikes=None, bias=0.01, **options):
    """A network whose weights lean to the positive, so that all layers fire."""
    torch.manual_seed(0)
    network = Network(spec, Neuron.auto(0.95, 0.9, steps, max_spikes=max_spikes, **options), rule, bias, engine)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(3).add_(0.9 * layer.fan_in**-0.5)
    return network


def trains(network, rate=0.1, steps=STEPS, batch=BATCH):
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(steps, batch, *network.input_shape, generator=generator) < rate).float()


def run(network, engine, spikes, price_L=None):
    """The outputs and the gradients of all parameters for random cotangents."""
    network.engine = engine
    network.zero_grad()
    output = network(spikes)
    generator = torch.Generator().manual_seed(2)
    cotangents = [torch.randn(output.spikes_TBN.shape, generator=generator) for _ in range(2)]
    loss = sum((c * o).sum() for c, o in zip(cotangents, output[:2], strict=True))
    if price_L is not None:
        loss = loss + (output.decision_BL * price_L).sum()
    loss.backward()
    return output, {name: p.grad.clone() for name, p in network.named_parameters()}


def assert_close(gradients, expected):
    for name, value in expected.items():
        assert torch.isfinite(gradients[name]).all(), name
        assert (gradients[name] - value).norm() / value.norm().clamp(min=1e-30) <= 1e-5, name


def compare(network, spikes, price_L=None):
    plain, expected = run(network, "layerwise", spikes, price_L)
    fast, gradients = run(network, "event_driven", SpikeEvents.from_dense(spikes), price_L)
    for own, other in zip(fast.layers, plain.layers, strict=True):
        assert own.dense_spikes().shape == other.dense_spikes().shape
        assert torch.equal(own.dense_spikes(), other.dense_spikes())
        assert torch.equal(own.counts_BN, other.counts_BN)
        assert torch.equal(own.totals_TB, other.totals_TB)
    for own, other in zip(fast[:2], plain[:2], strict=True):
        assert torch.equal(own, other)
    assert torch.equal(fast.decision_BL, plain.decision_BL)
    assert_close(gradients, expected)
    return plain, expected


@pytest.mark.parametrize(
    ("network", "name"),
    [*((network, "antlr") for network in NETWORKS), *(("pools in a row", name) for name in RULES if name != "antlr")],
)
def test_every_network_and_every_rule(network, name):
    """What a network is made of and what a rule does to its potentials know nothing of each other."""
    network = make(NETWORKS[network], RULES[name])
    output, expected = compare(network, trains(network))
    assert all(0 < layer.spikes.sum() < layer.spikes.numel() for layer in output.layers)
    assert all(gradient.norm() > 0 for gradient in expected.values())


@pytest.mark.parametrize("name", ["antlr", "rnn"])
@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
@pytest.mark.parametrize("max_spikes", [None, 1, 3])
def test_every_reset_and_limit(name, reset, max_spikes):
    network = make(NETWORKS["maximum"], RULES[name], reset=reset, max_spikes=max_spikes)
    compare(network, trains(network))


@pytest.mark.parametrize("rate", [0.0, 0.7, 1.0])
def test_silence_and_crowds(rate):
    """Where half of all inputs fire, four steps are taken at once, with heights behind average pooling as well."""
    network = make(NETWORKS["average"], bias=0.3 if rate == 0 else 0.01)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.abs_()
    compare(network, trains(network, rate))


@pytest.mark.parametrize("steps", [1, 2, 63, 65, 130])
def test_windows_of_any_length(steps):
    network = make(NETWORKS["average"], steps=steps)
    compare(network, trains(network, 0.2, steps))


@pytest.mark.parametrize("name", ["antlr", "timing"])
def test_the_cost_of_decision_spikes(name):
    network = make(NETWORKS["pools in a row"], RULES[name])
    compare(network, trains(network), torch.tensor([0.3, 2.0, 0.1]))


def test_one_sample_alone_and_errors_that_end_early():
    network = make(NETWORKS["maximum"])
    spikes = trains(network)
    results = []
    for engine in ("layerwise", "event_driven"):
        network.engine = engine
        network.zero_grad()
        output = network(spikes)
        (output.spikes_TBN[:9, 0].sum() + output.times_TBN[:5].sum()).backward()
        results.append({name: p.grad.clone() for name, p in network.named_parameters()})
    assert_close(results[1], results[0])
    compare(network, spikes[:, :1])


@pytest.mark.parametrize("spec", [NETWORKS["average"], NETWORKS["pools in a row"]], ids=str)
def test_the_same_bits_for_any_number_of_threads_and_poisoned_memory(spec, monkeypatch):
    network = make(spec, max_spikes=2)
    spikes, threads = SpikeEvents.from_dense(trains(network, batch=5)), torch.get_num_threads()
    _, expected = run(network, "event_driven", spikes)
    poison_memory(monkeypatch)
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            _, gradients = run(network, "event_driven", spikes)
            assert all(torch.equal(gradients[name], expected[name]) for name in expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("max_spikes", [None, 1])
def test_stopping_at_the_first_output_spike_keeps_the_decision(max_spikes):
    network = make(NETWORKS["average"], steps=70, max_spikes=max_spikes, engine="event_driven")
    spikes = trains(network, steps=70, batch=6)
    spikes[:, 5] = 0
    whole, cut = network(spikes), network(spikes, stop_at_first_output=True)
    decision_B = decision_steps(whole.spikes_TBN)
    assert len(decision_B.unique()) > 2
    assert torch.equal(decision_steps(cut.spikes_TBN), decision_B)
    for one, other in zip(whole.layers, cut.layers, strict=True):
        assert torch.equal(other.totals_TB.sum(0), one.count_until(decision_B))
        assert torch.equal(other.counts_BN, other.dense_spikes().flatten(2).sum(0).int())


def test_a_layer_that_it_does_not_know_is_an_obstacle():
    network = make(NETWORKS["average"])
    engine = EventDriven()
    assert engine.obstacle(network, None) is None
    for position, module in ((1, nn.Identity()), (1, MaxPool(9)), (3, AveragePool(2))):
        known = network.layers[position]
        network.layers[position] = module
        assert "event-driven" in engine.obstacle(network, None)
        network.layers[position] = known
    network.layers[0].synapses = object()
    assert "event-driven" in engine.obstacle(network, None)


@pytest.mark.parametrize(("stride", "channels"), [(1, 5), (2, 5), (3, 70)])
def test_rows_of_images_are_those_of_a_convolution_and_gradients_come_back_as_its_transpose(stride, channels):
    shape, weight_shape, out = (2, 11, 13), (channels, 2, 5, 5), ((11 - 1) // stride + 1, (13 - 1) // stride + 1)
    (layer,), wiring = wire(shape, (Plan((), weight_shape, stride, (channels, *out)),))
    generator = np.random.default_rng(0)
    weight = generator.standard_normal(weight_shape).astype(np.float32)
    stretches = layer.stretches(weight)
    other = generator.standard_normal(stretches.shape).astype(np.float32)
    assert np.vdot(stretches, layer.stretches(layer.from_stretches(other))) == pytest.approx(
        np.vdot(weight, layer.from_stretches(other)), rel=1e-5
    )
    image = generator.standard_normal(shape).astype(np.float32)
    expected = torch.nn.functional.conv2d(torch.tensor(image)[None], torch.tensor(weight), stride=stride, padding=2)[0]
    heights = image.transpose(1, 2, 0).ravel()  # all cells are heard in step 0
    number = np.arange(len(heights), dtype=np.int32)
    cells = Cells(np.arange(0, len(number) + 1, 26), number, 0 * number, heights)
    stack = Stack(wiring, stretches, np.zeros((1, 64), np.float32))
    left, end = layer.pitch - 64 - layer.stretch - layer.patches * layer.patch * channels, out[1] * channels
    for row in range(out[0]):
        drives = np.zeros(layer.pitch, np.float32)
        add_drives(cells, stack, 0, row, drives)
        found = drives[left : left + end].reshape(out[1], channels).T
        assert np.allclose(found, expected[:, row], atol=1e-4)
