"""Every surrogate is the derivative of its primitive, and both engines run it."""

import math

import pytest
import torch

from app import Network, Neuron, SpikeEvents
from app.neuron.surrogate import SURROGATES, Arctangent, FastSigmoid, Sigmoid, Triangular
from app.rules import activation

THETA = 1.3
PRIMITIVES = {
    FastSigmoid(7.0): lambda x: x / (1 + 7 * x.abs()),
    Arctangent(2.5): lambda x: torch.atan(math.pi / 2 * 2.5 * x) / math.pi,
    Sigmoid(5.0): lambda x: torch.sigmoid(5 * x),
    Triangular(0.4, 0.7): lambda x: 0.4 * torch.where(x.abs() < 0.7, x - x * x.abs() / 1.4, 0.35 * x.sign()),
}


@pytest.mark.parametrize("surrogate", PRIMITIVES, ids=lambda one: type(one).__name__)
def test_closed_form_is_the_derivative_of_the_primitive(surrogate):
    potential = torch.linspace(-3, 5, 401, dtype=torch.float64).requires_grad_()
    PRIMITIVES[surrogate](potential - THETA).sum().backward()
    torch.testing.assert_close(surrogate(potential.detach(), THETA), potential.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("surrogate", PRIMITIVES, ids=lambda one: type(one).__name__)
def test_far_from_the_threshold_it_is_finite(surrogate):
    potential = torch.tensor([-1e30, -1e4, 1e4, 1e30])
    assert torch.isfinite(surrogate(potential, 1.0)).all()


@pytest.mark.parametrize("surrogate", PRIMITIVES, ids=lambda one: type(one).__name__)
def test_both_engines_agree(surrogate):
    assert SURROGATES.name_of(type(surrogate))
    torch.manual_seed(0)
    network = Network(["20", "fc70", "fc5"], Neuron.auto(0.95, 0.9, 30), activation(surrogate), 0.01)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(3).add_(0.9 * layer.fan_in**-0.5)
    spikes, found = (torch.rand(30, 3, 20) < 0.1).float(), []
    for engine in ("layerwise", "event_driven"):
        network.engine = engine
        network.zero_grad()
        output = network(SpikeEvents.from_dense(spikes))
        (output.spikes_TBN * torch.arange(5.0)).sum().backward()
        found.append([p.grad.clone() for p in network.parameters()])
    assert 0 < output.spikes_TBN.sum() < output.spikes_TBN.numel()
    for one, other in zip(*found, strict=True):
        assert one.norm() > 0
        assert (one - other).norm() <= 1e-5 * one.norm()
