"""Extreme but legal settings on every backend: the plain one in float32 and float64, and the event-driven one."""

import pytest
import torch

from app.events import SpikeEvents
from app.kernels import reference
from tests.support.networks import RULES, assert_close, make, run, trains

SPEC = ["20", "fc24", "fc10"]
STEPS = 30


def assert_spikes(network, spikes):
    """Layer by layer, against float64 potentials of the same input: a first difference only where |V − θ| is tiny."""
    network.engine = "numba"
    given_TBN = spikes
    for layer, activity in zip(network.spiking, network(SpikeEvents.from_dense(spikes)).layers, strict=True):
        weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
        exact = reference.forward(given_TBN.double() @ weight.t(), bias, network.neuron)
        given_TBN = activity.dense_spikes()
        first_TBN = (given_TBN != exact.spikes_TBN).cumsum(0).cumsum(0) == 1
        scale = exact.potential_TBN.abs().amax(0).clamp(min=1).expand_as(exact.potential_TBN)
        distance = (exact.potential_TBN - network.neuron.threshold).abs()
        assert (distance[first_TBN] <= 1e-5 * scale[first_TBN]).all()


def assert_backends_agree(network, spikes):
    """Spikes and gradients of the event-driven backend; all finite, in float64 too. Returns the plain output."""
    assert_spikes(network, spikes)
    plain, expected = run(network, "reference", spikes)
    fast, gradients = run(network, "numba", SpikeEvents.from_dense(spikes))
    assert all(torch.equal(a.dense_spikes(), b.dense_spikes()) for a, b in zip(fast.layers, plain.layers, strict=True))
    assert_close(gradients, expected)
    _, exact = run(network.double(), "reference", spikes.double())
    assert all(torch.isfinite(gradient).all() for gradient in exact.values())
    return plain


RULE_NAMES = ["activation", "rnn", "slayer", "timing", "antlr"]


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("alphas", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)], ids=str)
def test_constants_at_the_ends_of_their_range(alphas, rule):
    assert_backends_agree(make(SPEC, STEPS, RULES[rule], alphas=alphas), trains(STEPS, 3, 20))


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("alphas", [(0.0, 0.0), (0.9, 0.9), (1.0, 1.0)], ids=str)
def test_a_window_of_one_step(alphas, rule):
    output = assert_backends_agree(make(SPEC, 1, RULES[rule], alphas=alphas), trains(1, 3, 20, 0.5))
    assert output.layers[0].spikes.any()


@pytest.mark.parametrize("rule", ["activation", "timing", "antlr"])
@pytest.mark.parametrize("alphas", [(0.9, 0.5), (1.0, 0.9)], ids=str)
def test_thousands_of_steps(alphas, rule):
    output = assert_backends_agree(make(SPEC, 3000, RULES[rule], alphas=alphas), trains(3000, 2, 20, 0.01))
    assert output.layers[1].spikes.any()


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("batch", [1, 3])
def test_no_input_spike_at_all(batch, rule):
    network = make(SPEC, STEPS, RULES[rule])
    output = assert_backends_agree(network, torch.zeros(STEPS, batch, 20))
    assert output.spikes_TBN.shape == (STEPS, batch, 10)


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("max_spikes", [None, 1, STEPS, 10**6])
def test_every_neuron_fires_at_every_step_it_may(max_spikes, rule):
    network = make(SPEC, STEPS, RULES[rule], max_spikes=max_spikes, threshold=1e-6)
    with torch.no_grad():
        for layer in network.spiking:
            layer.bias.fill_(1000.0)
    output = assert_backends_agree(network, trains(STEPS, 3, 20, 1.0))
    for layer in output.layers:
        assert (layer.counts_BN == min(STEPS, max_spikes or STEPS)).all()


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("size", [1e6, -1e6])
@pytest.mark.parametrize("alphas", [(0.9, 0.9), (1.0, 1.0)], ids=str)
def test_weights_of_a_million(alphas, size, rule):
    network = make(SPEC, STEPS, RULES[rule], alphas=alphas)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(size)
    output = assert_backends_agree(network, trains(STEPS, 3, 20))
    assert output.layers[0].spikes.any()


@pytest.mark.parametrize("max_spikes", [1, 2, 2**31 - 1])
def test_a_limit_of_spikes_with_long_windows(max_spikes):
    output = assert_backends_agree(make(SPEC, 500, max_spikes=max_spikes), trains(500, 2, 20))
    assert 0 < output.layers[0].counts_BN.max() <= max_spikes
