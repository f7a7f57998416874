"""Layers that hear their own spikes: the plain engine in float64, against autograd, by hand and in continuous time."""

import numpy as np
import pytest
import torch

from app.layers.spiking import connect, fire
from app.layers.synapses import Dense
from app.network import Network
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential, Rectangular
from app.rules import RULES, activation, antlr, timing
from tests.support import continuous_loop as exact
from tests.support.unrolled import unrolled

T, B, M, N = 30, 3, 6, 5
STEPS_S = (4e-5, 1e-5)


def make(seed: int = 0, **options):
    g = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(T, B, M, generator=g) < 0.2).double()
    weight = (torch.rand(N, M, generator=g, dtype=torch.float64) - 0.2).requires_grad_()
    own = (0.6 * torch.randn(N, N, generator=g, dtype=torch.float64)).requires_grad_()
    bias = (torch.randn(N, generator=g, dtype=torch.float64) * 0.05).requires_grad_()
    return spikes, weight, own, bias, Neuron.auto(0.9, 0.8, T, **options)


@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
@pytest.mark.parametrize("max_spikes", [None, 2])
@pytest.mark.parametrize("variant", ["rnn", "srm"])
def test_activation_rule_equals_autograd_through_the_unrolled_loop(variant, max_spikes, reset):
    spikes, weight, own, bias, neuron = make(max_spikes=max_spikes, reset=reset)
    surrogate = Exponential(0.7, 2.0) if reset == "both" else Rectangular(0.8)
    cotangent = torch.randn(T, B, N, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    parameters = (weight, own, bias)
    out = unrolled(spikes @ weight.T, bias, neuron, surrogate, variant == "srm", own)
    expected = torch.autograd.grad((out * cotangent).sum(), parameters)
    ours, _ = fire(*connect(spikes, spikes, weight, Dense()), bias, neuron, activation(surrogate, variant), own)
    assert 0 < ours.sum() < ours.numel()
    assert torch.equal(ours, out)
    for mine, other in zip(torch.autograd.grad((ours * cotangent).sum(), parameters), expected, strict=True):
        assert other.norm() > 0
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_two_neurons_by_hand():
    """α_V = α_I = ½, β = 1, θ = 1. The input makes neuron 0 fire in step 0; neuron 1 hears that in steps 1 and on.

    Neuron 1: I = 0, 0.8, 0.4 and V = 0, 0.8, 0.8, then an input of 0.6 in step 3: I = 0.8, V = 1.2, a spike of slope
    V[3] - V[2] = 0.4. With dL/dt̂ = 1 there, δV[3] = -1/0.4 = -2.5. Back to step 1: δV_dep[1] = -2.5/4, and
    δI = β_V δV_dep + α_I δI[t+1]: δI[3] = -2.5, δI[2] = -1.25 - 1.25, δI[1] = -0.625 - 1.25 = -1.875 = dL/dW_rec.
    δt̂ of neuron 0's spike is -w Σ ε*[τ] δV[1+τ] = 0.8 · 2.5 · ε*[2]; ε = 1, 1, ¾, ½, hence ε*[2] = (½ - 1)/2 and the
    error -0.5: later is better, for in step 3 the potential that the spike left is past its peak. Neuron 0 rises to 1.5
    from rest, so that its weight gets δV[0] = 0.5 / 1.5 by the timing rule.
    """
    neuron = Neuron(0.5, 0.5, 1.0)
    drive = torch.zeros(4, 1, 2, dtype=torch.float64)
    drive[0, 0, 0], drive[3, 0, 1] = 1.5, 0.6
    drive.requires_grad_()
    own = torch.tensor([[0.0, 0.0], [0.8, 0.0]], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(2, dtype=torch.float64)
    spikes, times = fire(drive, torch.zeros_like(drive), bias, neuron, timing(), own)
    assert spikes[:, 0].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    times[3, 0, 1].backward()
    assert own.grad.tolist() == [[0, 0], [pytest.approx(-1.875), 0]]
    assert drive.grad[:, 0, 1].tolist() == pytest.approx([-1.25, -1.875, -2.5, -2.5])
    assert drive.grad[:, 0, 0].tolist() == pytest.approx([0.5 / 1.5, 0, 0, 0])


@pytest.mark.parametrize(("rule", "reset"), [("eventprop", "potential"), ("eventprop", "both"), ("timing", "both")])
def test_gradients_of_spike_times_approach_those_in_continuous_time(rule, reset):
    """Finite differences of an event-by-event simulation; with both states reset the timing rule is exact as well."""
    random = np.random.default_rng(5)
    inputs = sorted((float(t), int(m)) for t, m in zip(random.uniform(0.001, 0.03, 12), [0, 1, 2, 3] * 3, strict=True))
    weight, own = random.uniform(0.5, 2.5, (3, 4)), random.uniform(-1.2, 1.2, (3, 3))
    costs, errors = random.standard_normal(40).tolist(), []
    for step_s in STEPS_S:

        def loss(step_s=step_s):
            found = exact.spikes_of(inputs, weight, own, np.zeros((3, 4)), step_s, reset)
            return sum(c * t for c, (t, _) in zip(costs, found, strict=False))

        expected = [exact.differences(loss, values, 1e-6) for values in (weight, own)]
        network = Network(["4", "rfc3"], exact.neuron(step_s, reset), RULES[rule](min_slope=1e-12)).double()
        layer = network.spiking[0]
        layer.weight.data, layer.recurrent_weight.data = torch.from_numpy(weight), torch.from_numpy(own)
        output = network(exact.in_steps(inputs, 4, step_s))
        count = int(output.spikes_TBN.sum())
        assert count >= 5
        error = exact.error_at(output.spikes_TBN, [c * step_s for c in costs[:count]])
        (output.times_TBN * error).sum().backward()
        pairs = zip((layer.weight.grad, layer.recurrent_weight.grad), expected, strict=True)
        errors.append([np.linalg.norm(found.numpy() - e) / np.linalg.norm(e) for found, e in pairs])
    assert all(fine < 0.7 * coarse for coarse, fine in zip(*errors, strict=True)), errors
    assert max(errors[-1]) < 0.02, errors


def lively(spec, rule, **options):
    torch.manual_seed(1)
    network = Network(spec, Neuron.auto(0.95, 0.9, T), rule, **options)
    for layer in network.spiking:
        layer.weight.data += 0.5 * layer.fan_in**-0.5
    return network


def test_a_layer_with_recurrent_weights_of_zero_is_the_layer_without():
    spikes = (torch.rand(T, B, M, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    plain, looped = lively([str(M), "fc8", "fc3"], antlr()), lively([str(M), "rfc8", "fc3"], antlr())
    looped.spiking[0].recurrent_weight.data.zero_()
    for network in (plain, looped):
        network.engine = "layerwise"
        output = network(spikes)
        output.spikes_TBN.sum().backward()
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, looped.get_parameter(name)), "the weights of the layers are drawn alike"
    assert torch.equal(plain(spikes).spikes_TBN, looped(spikes).spikes_TBN)


def test_record_shows_what_the_network_does():
    network = lively([str(M), "rfc8", "rfc3"], antlr())
    spikes = (torch.rand(T, B, M, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    states, output = network.record(spikes), network(spikes)
    for state, activity in zip(states, output.layers, strict=True):
        assert 0 < state.spikes_TBN.sum() < state.spikes_TBN.numel()
        assert torch.equal(state.spikes_TBN, activity.dense_spikes())


@pytest.mark.parametrize("rule", ["lee", "hm2bp", "s4nn"])
def test_rules_for_whole_layers_refuse_what_they_know_nothing_of(rule):
    network = lively([str(M), "rfc8", "fc3"], RULES[rule]())
    with pytest.raises(ValueError, match=r"differentiates whole layers and knows no recurrent layer"):
        network(torch.zeros(T, B, M))
