"""Jumping from spike to spike gives what the plain engine computes step by step."""

import numpy as np
import pytest
import torch

from app.jumps import Layer, Spikes
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import eventprop, timing

STEPS = 150


@pytest.mark.parametrize("rule", [eventprop(1e-3), timing(1e-3)], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("alphas", [(0.97, 0.9), (0.95, 0.95), (1.0, 0.9), (0.9, 0.95)], ids=str)
@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
def test_two_layers_in_float64(reset, alphas, rule):
    torch.manual_seed(0)
    neuron = Neuron(*alphas, 0.1, reset=reset)
    network = Network(["12", "fc15", "fc5"], neuron, rule, engine="layerwise").double()
    for layer in network.spiking:
        layer.weight.data = torch.rand_like(layer.weight) * 1.2 - 0.2
    spikes = (torch.rand(STEPS, 1, 12) < 0.05).double()
    output = network(spikes)
    errors = torch.randn_like(output.times_TBN)
    (output.times_TBN * errors).sum().backward()

    steps_E, _, neurons_E = spikes.nonzero().T.numpy()
    layers = [Layer(module.weight.detach().numpy().T.copy(), neuron, STEPS) for module in network.spiking]
    hidden = layers[0].run(Spikes(steps_E, neurons_E))
    out = layers[1].run(hidden)
    for found, activity in zip((hidden, out), output.layers, strict=True):
        expected = [(t, n) for t, _, n in activity.dense_spikes().nonzero().tolist()]
        assert [*zip(*map(np.ndarray.tolist, found), strict=True)] == expected
        assert 5 < len(expected) < STEPS * activity.counts_BN.shape[1] * 0.9
    above = layers[1].differentiate(rule, out, errors.numpy()[out.steps_E, 0, out.neurons_E])
    below = layers[0].differentiate(rule, hidden, above.times_E)
    for found, module in zip((below, above), network.spiking, strict=True):
        np.testing.assert_allclose(found.weight_MN.T, module.weight.grad.numpy(), rtol=1e-9, atol=1e-12)
