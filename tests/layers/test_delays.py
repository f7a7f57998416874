"""Delays in the plain engine, float64: what they do to spikes, their gradient, and what rounding does to both."""

import numpy as np
import pytest
import torch

from app.layers.delays import Delays
from app.layers.spiking import connect, fire
from app.network import Network
from app.neuron.lif import Neuron
from app.neuron.psp import psp_slope_kernel
from app.rules import RULES, activation, antlr
from tests.support import continuous_loop as exact

T, B, M, N, LONGEST = 25, 3, 6, 5, 7
KINDS = ("axonal", "dendritic", "synaptic")


def make(kind, seed=0, **options):
    """Spikes, weights, and delays of every synapse made of those that are learned."""
    g = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(T, B, M, generator=g) < 0.3).double()
    weight = (torch.rand(N, M, generator=g, dtype=torch.float64) - 0.2).requires_grad_()
    delays = Delays(kind, LONGEST)
    steps = (torch.rand(delays.shape((N, M)), generator=g, dtype=torch.float64) * LONGEST).requires_grad_()
    return spikes, weight, delays, steps, Neuron.auto(0.9, 0.8, T, **options)


def of_synapses(kind, steps):
    return (steps[:, None] if kind == "dendritic" else steps).expand(N, M)


def by_definition(spikes, weight, whole_NM):
    """drive_i[t] = Σ_j w_ij S_j[t - d_ij], term by term."""
    rows = []
    for t in range(T):
        heard = [
            sum(
                (weight[i, j] * spikes[t - d, :, j] for j in range(M) if (d := int(whole_NM[i, j])) <= t),
                0 * spikes[0, :, 0],
            )
            for i in range(N)
        ]
        rows.append(torch.stack(heard, 1))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_delayed_synapses_and_their_transposes_equal_the_definition(kind):
    spikes, weight, delays, steps, _ = make(kind)
    spikes.requires_grad_()
    synapses = delays.synapses(steps)
    expected = by_definition(spikes, weight, of_synapses(kind, delays.whole(steps)))
    torch.testing.assert_close(synapses.drive(spikes, weight), expected)
    error = torch.randn(T, B, N, dtype=torch.float64)
    to_spikes, to_weight = torch.autograd.grad((expected * error).sum(), (spikes, weight))
    torch.testing.assert_close(synapses.pull_back(error, weight, spikes), to_spikes)
    torch.testing.assert_close(synapses.weight_gradient(error, weight, spikes), to_weight)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_synapses_share_of_the_timing_error_also_under_the_activation_rule(kind):
    """-Σ_{b,t} w_ij S_j[t] Σ_τ ε*[τ] δV_i[t+d+τ], stopped at the next spike, term by term."""
    spikes, weight, delays, steps, neuron = make(kind)
    bias, rule = torch.zeros(N, dtype=torch.float64), activation()
    cotangent = torch.randn(T, B, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    out, _ = fire(*connect(spikes, spikes, weight, delays.synapses(steps), steps), bias, neuron, rule)
    assert 0 < out.sum() < out.numel()
    found = torch.autograd.grad((out * cotangent).sum(), steps)[0]
    whole, slope = of_synapses(kind, delays.whole(steps)), psp_slope_kernel(neuron, T)
    potential = Network([str(M), f"fc{N}"], neuron, rule, delays=delays).double()
    potential.spiking[0].weight.data, potential.spiking[0].delay_steps.data = weight.detach(), steps.detach()
    error = rule.surrogate(potential.record(spikes)[0].potential_TBN, neuron.threshold) * cotangent
    expected = torch.zeros(N, M, dtype=torch.float64)
    for t, b, j in spikes.nonzero().tolist():
        for i in range(N):
            for at in range(t + int(whole[i, j]), T):
                expected[i, j] -= weight[i, j].detach() * slope[at - t - int(whole[i, j])] * error[at, b, i]
                if out[at, b, i]:
                    break
    axis = {"axonal": 0, "dendritic": 1}
    torch.testing.assert_close(found, expected.sum(axis[kind]) if kind in axis else expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_approach_those_in_continuous_time(kind):
    """Finite differences of the spike times of an event-by-event simulation, as the step goes to 0."""
    random = np.random.default_rng(4)
    inputs = sorted((float(t), int(m)) for t, m in zip(random.uniform(0.001, 0.03, 12), [0, 1, 2, 3] * 3, strict=True))
    weight, delays_s = random.uniform(0.5, 2.5, (3, 4)), random.uniform(0.0005, 0.006, (3, 4))
    delays_s[:] = {"axonal": delays_s[:1], "dendritic": delays_s[:, :1], "synaptic": delays_s}[kind]
    costs, errors = random.standard_normal(40).tolist(), []
    for step_s in (4e-5, 1e-5):

        def loss(step_s=step_s):
            found = exact.spikes_of(inputs, weight, np.zeros((3, 3)), delays_s, step_s)
            return sum(c * t for c, (t, _) in zip(costs, found, strict=False))

        expected = exact.differences(loss, delays_s, 1e-8)
        expected = expected.sum({"axonal": 0, "dendritic": 1}[kind]) if kind != "synaptic" else expected
        own_s = {"axonal": delays_s[0], "dendritic": delays_s[:, 0], "synaptic": delays_s}[kind]
        rule = RULES["eventprop"](min_slope=1e-12)
        network = Network(["4", "fc3"], exact.neuron(step_s), rule, delays=Delays(kind, 1000)).double()
        layer = network.spiking[0]
        layer.weight.data, layer.delay_steps.data = torch.from_numpy(weight), torch.from_numpy(own_s / step_s)
        output = network(exact.in_steps(inputs, 4, step_s))
        count = int(output.spikes_TBN.sum())
        assert count >= 4
        error = exact.error_at(output.spikes_TBN, [c * step_s for c in costs[:count]])
        (output.times_TBN * error).sum().backward()
        errors.append(np.linalg.norm(layer.delay_steps.grad.numpy() / step_s - expected) / np.linalg.norm(expected))
    assert errors[1] < 0.7 * errors[0], errors
    assert errors[1] < 0.02, errors


def gradient_at(kind, value):
    """Output spikes and the gradient with all delays at one value."""
    spikes, weight, delays, steps, neuron = make(kind)
    steps.data.fill_(value)
    bias = torch.zeros(N, dtype=torch.float64)
    out, times = fire(*connect(spikes, spikes, weight, delays.synapses(steps), steps), bias, neuron, antlr())
    (out.sum() + (times * torch.linspace(-1, 1, N)).sum()).backward()
    return out, steps.grad


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_on_whole_steps(kind):
    """Between two half steps nothing changes, neither spikes nor gradient; a whole step shifts every spike by one."""
    (two, of_two), (near, of_near), (three, _) = (gradient_at(kind, value) for value in (2.0, 2.4, 2.6))
    assert 0 < two.sum() < two.numel()
    assert torch.equal(near, two)
    assert torch.equal(of_near, of_two)
    assert of_two.norm() > 0
    assert torch.equal(three[1:], two[:-1]), "without bias a neuron knows nothing of the time"
    assert not three[0].any()
    assert torch.equal(gradient_at(kind, 2.5)[0], two), "half to even"
    assert torch.equal(gradient_at(kind, 3.5)[0], gradient_at(kind, 4.0)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_delays_stay_in_their_range(kind):
    """A gradient that leads out of it is 0, and what an optimiser's momentum has carried out is taken for the end."""
    for end, outside in ((0.0, -3.0), (float(LONGEST), LONGEST + 3.0)):
        (at_end, gradient), (beyond, of_beyond) = gradient_at(kind, end), gradient_at(kind, outside)
        assert torch.equal(at_end, beyond)
        assert torch.equal(gradient, of_beyond)
        assert ((gradient <= 0) if end == 0 else (gradient >= 0)).all()
        inside = gradient_at(kind, 1e-3 if end == 0 else LONGEST - 1e-3)[1]
        assert torch.equal(gradient, inside.clamp(max=0) if end == 0 else inside.clamp(min=0))


def test_delays_that_are_not_learned_get_no_gradient_and_leave_the_others_alone():
    spikes = (torch.rand(T, B, M, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    found = []
    for learn in (True, False):
        torch.manual_seed(0)
        delays = Delays("axonal", LONGEST, learn)
        network = Network([str(M), "fc8", "fc3"], Neuron.auto(0.95, 0.9, T), antlr(), delays=delays)
        for layer in network.spiking:
            layer.weight.data += 0.5 * layer.fan_in**-0.5
        output = network(spikes)
        output.times_TBN.sum().backward()
        found.append([layer.weight.grad for layer in network.spiking])
        assert all((layer.delay_steps.grad is not None) == learn for layer in network.spiking)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert all(gradient.norm() > 0 for gradient in found[0])


@pytest.mark.parametrize("bad", [{"kind": "slow"}, {"max_steps": 0}, {"max_steps": 5000}])
def test_impossible_delays_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        Delays(**{"kind": "axonal", "max_steps": 5} | bad)


def test_rules_for_whole_layers_refuse_them():
    network = Network([str(M), "fc3"], Neuron.auto(0.9, 0.8, T), RULES["lee"](), delays=Delays("axonal", 5))
    with pytest.raises(ValueError, match="knows no layer with delays"):
        network(torch.zeros(T, B, M))
