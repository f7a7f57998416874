"""The loops that speed is compared with compute what the application computes."""

import pytest
import torch

from app.network import Network
from app.neuron.lif import Neuron
from app.rules import activation, antlr, timing
from benchmarks.per_step_loop import autograd_loop, backward_loop, forward_loop, hearings


@pytest.mark.parametrize("rule", [activation(), timing(), antlr()], ids=["activation", "timing", "antlr"])
@pytest.mark.parametrize(
    "spec", [["9", "fc8", "fc4"], ["2x6x6", "conv3c3", "apool2", "conv4c3", "mpool3", "flatten", "fc4"]], ids=str
)
def test_the_per_step_loop_has_the_gradients_of_the_plain_engine(spec, rule):
    torch.manual_seed(0)
    network = Network(spec, Neuron.auto(0.95, 0.9, 15), rule, 0.01, "layerwise")
    for layer in network.spiking:
        layer.weight.data.mul_(3).add_(0.9 * layer.fan_in**-0.5)
    spikes = (torch.rand(15, 3, *network.input_shape) < 0.2).float()
    output = network(spikes)
    cotangents = torch.randn(2, *output.spikes_TBN.shape)
    parameters = [layer.weight for layer in network.spiking], [layer.bias for layer in network.spiking]
    loss = sum((c * o).sum() for c, o in zip(cotangents, output[:2], strict=True))
    expected = torch.autograd.grad(loss, parameters[0] + parameters[1])
    weights, biases = parameters[0], [b.view(-1, *[1] * (w.dim() - 2)) for w, b in zip(*parameters, strict=True)]
    hears = hearings(network.layers)
    if isinstance(rule, type(activation())):
        fired = autograd_loop(spikes, hears, weights, biases, network.neuron)
        found = torch.autograd.grad((fired * cotangents[0]).sum(), parameters[0] + parameters[1])
    else:
        trains, potentials = forward_loop(spikes, hears, weights, biases, network.neuron)
        assert torch.equal(trains[-1], output.spikes_TBN)
        assert 0 < trains[-1].mean() < 1
        lambda_act = float(isinstance(rule, type(antlr())))
        with torch.no_grad():
            grads = backward_loop(*cotangents, trains, potentials, hears, weights, biases, network.neuron, lambda_act)
        found = [*grads[0], *(g.flatten() for g in grads[1])]
    for own, other in zip(found, expected, strict=True):
        assert other.norm() > 0
        assert (own - other).norm() <= 1e-5 * other.norm()
