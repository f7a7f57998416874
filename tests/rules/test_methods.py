"""The rules of other papers, each against its closed form or by hand, in float64."""

import pytest
import torch
from scipy.special import lambertw

from app import Network, Neuron, count_loss
from app.kernels.reference import forward
from app.layers import SpikingLayer
from app.layers.spiking import connect, fire, membrane_error
from app.layers.synapses import Dense
from app.neuron.psp import psp_kernel
from app.neuron.surrogate import Exponential
from app.rules import bptc, hm2bp, lee, s4nn, timing, tssl_bp

T, B, M, N = 40, 3, 9, 7


def layer(alphas=(0.9, 0.8), inputs=M, neurons=N, seed=0, **options):
    torch.manual_seed(seed)
    made = SpikingLayer(Dense(), (neurons, inputs), (neurons,)).double()
    with torch.no_grad():
        made.weight.uniform_(-0.3, 0.7)
        made.bias.uniform_(-0.02, 0.05)
    spikes = (torch.rand(T, B, inputs) < 0.2).double()
    return made, spikes, Neuron.auto(*alphas, T, **options)


def errors(made, spikes, neuron, rule):
    """The output spikes, their random errors, and the errors of the input by both channels."""
    spikes = spikes.clone().requires_grad_()
    times = torch.zeros_like(spikes).requires_grad_()
    made.zero_grad()
    out, out_times = made((spikes, times), neuron, rule)
    error_S, error_t = torch.randn(2, *out.shape, dtype=torch.float64)
    ((out * error_S).sum() + (out_times * error_t).sum()).backward()
    assert 0 < out.sum() < out.numel()
    return out.detach(), error_S, error_t, spikes.grad, times.grad


def expected_psp(spikes, out, neuron):
    """e_{b,i|j} by its definition: what i's own spikes find of the PSPs by j's spikes since i's last one."""
    psp, found = psp_kernel(neuron, T), torch.zeros(B, out.shape[2], spikes.shape[2], dtype=torch.float64)
    for b in range(B):
        for i in range(out.shape[2]):
            last = -1
            for t in out[:, b, i].nonzero()[:, 0].tolist():
                for tau in range(last + 1, t + 1):
                    found[b, i] += psp[t - tau] * spikes[tau, b]
                last = t
    return found


def test_hm2bp_is_its_equations_written_with_e_ij():
    made, spikes, neuron = layer(threshold=1.2)
    out, error_S, _, down, times = errors(made, spikes, neuron, hm2bp())
    e, count = expected_psp(spikes, out, neuron), out.sum(0)
    delta = error_S.mean(0) / neuron.threshold
    potential = forward(spikes @ made.weight.T, made.bias, neuron).potential_TBN
    factor = 1 + (potential * out).sum(0).detach() / (neuron.threshold * count.clamp(min=1))
    torch.testing.assert_close(made.weight.grad, torch.einsum("bi,bij->ij", delta * factor, e))
    of_count = torch.einsum("bi,ij,bij->bj", delta, made.weight.detach(), e) / spikes.sum(0).clamp(min=1)
    torch.testing.assert_close(down, of_count.expand(T, -1, -1))
    assert times is None
    a = torch.einsum("ij,bij->bi", made.weight.detach(), e)  # the macro level: n = a / θ, but for overshoot and bias
    assert (a[count > 2] / neuron.threshold / count[count > 2]).mean() == pytest.approx(1, abs=0.5)


def test_lee_follows_counts_that_are_linear_in_the_input():
    """Without leak and with θ taken from the potential, counts are the charge over θ, but for less than one spike."""
    made, spikes, neuron = layer((1.0, 0.7), reset="subtract", threshold=0.5)
    with torch.no_grad():
        made.weight.abs_()
        made.bias.zero_()
    out, error_S, _, down, _ = errors(made, spikes, neuron, lee())
    later = torch.tensor([sum(neuron.alpha_i**k for k in range(T - t)) for t in range(T)], dtype=torch.float64)
    charge = neuron.beta_i * neuron.beta_v * torch.einsum("t,tbj->bj", later, spikes)
    counts = charge @ made.weight.detach().T / neuron.threshold
    assert (out.sum(0) <= counts + 1e-9).all()
    free = out.sum(0) < T * 0.6  # one spike a step at most
    assert free.sum() > 3
    assert (counts - out.sum(0))[free].max() < 3
    delta = error_S.mean(0) / neuron.threshold
    torch.testing.assert_close(made.weight.grad, torch.einsum("bi,bj->ij", delta, charge))
    fired = spikes.sum(0) > 0
    of_count = (delta @ made.weight.detach()) * charge / spikes.sum(0).clamp(min=1)
    torch.testing.assert_close(down[0][fired], of_count[fired])
    torch.testing.assert_close(made.bias.grad, neuron.beta_bias * T * delta.sum(0))


def test_s4nn_by_hand():
    """IF neurons without synaptic current: δ of unit length, handed to whatever fired no later."""
    made, spikes, neuron = layer((1.0, 0.0), max_spikes=1)
    spikes = spikes * (spikes.cumsum(0) == 1)  # one spike each
    out, _, error_t, down, times = errors(made, spikes, neuron, s4nn())
    assert down is None
    delta = (out * error_t).sum(0)
    delta = delta / delta.norm(dim=1, keepdim=True)
    at = torch.where(out.any(0), out.argmax(0), -1)
    came = torch.where(spikes.any(0), spikes.argmax(0), T)
    before = (came[:, None, :] <= at[:, :, None]).double()  # [B, N, M]
    scale = neuron.beta_v * neuron.beta_i
    torch.testing.assert_close(made.weight.grad, -scale * torch.einsum("bi,bij->ij", delta, before))
    handed = scale * torch.einsum("bi,ij,bij->bj", delta, made.weight.detach(), before)
    torch.testing.assert_close(times.sum(0), handed * spikes.any(0))


def test_tssl_bp_switches_where_antlr_adds():
    made, spikes, neuron = layer()
    rule = tssl_bp(Exponential(0.7, 2.0), 0.02)
    with torch.no_grad():
        made.weight[:3].neg_()  # silent neurons
    out, error_S, error_t, _, _ = errors(made, spikes, neuron, rule)
    run = forward(spikes @ made.weight.detach().T, made.bias.detach(), neuron)
    before = torch.cat([torch.zeros(1, B, N), run.potential_TBN[:-1] * (1 - out[:-1])])
    by_time = -error_t / (run.potential_TBN - before).clamp(min=0.02) * out
    by_value = rule.surrogate(run.potential_TBN, 1.0) * error_S
    silent = out.sum(0) == 0
    assert 0 < silent.sum() < silent.numel()
    found = membrane_error(error_S, error_t, run, made.bias.detach(), neuron, rule)
    torch.testing.assert_close(found, torch.where(silent, by_value, by_time))


def first_spike(weight, spikes, neuron, rule):
    """The step of the only spike of one neuron, and its derivative by the weights, by a rule."""
    parameter = weight.clone().requires_grad_()
    _, times = fire(*connect(spikes, spikes, parameter, Dense()), torch.zeros(1).double(), neuron, rule)
    step = int(times[:, 0, 0].argmax())
    assert step > 0
    times[step, 0, 0].backward()
    return step, parameter.grad[0]


def single_spikes(starts_s, step_s, end_s=3.0):
    spikes = torch.zeros(round(end_s / step_s), 1, len(starts_s), dtype=torch.float64)
    for i, start in enumerate(starts_s):
        spikes[round(start / step_s), 0, i] = 1
    return spikes


@pytest.mark.parametrize("rule", [timing(1e-9), bptc(1e-9)], ids=lambda rule: type(rule).__name__)
def test_linear_psp_has_the_closed_form_of_a_non_leaky_neuron(rule):
    """(1, 1): V(t) = Σ w_i (t − t_i), so t̂ = (θ + Σ w_i t_i) / Σ w_i and dt̂/dw_i = (t_i − t̂) / Σ w_i (STDBP)."""
    weight, starts, dt = torch.tensor([[0.5, 0.4, 0.3]], dtype=torch.float64), (0.1, 0.3, 0.6), 0.002
    neuron = Neuron(1.0, 1.0, dt, 1.0, dt, max_spikes=1)
    step, gradient = first_spike(weight, single_spikes(starts, dt), neuron, rule)
    start = torch.tensor(starts).double()
    exact = (1 + (weight[0] * start).sum()) / weight.sum()
    assert step * dt == pytest.approx(float(exact), abs=2 * dt)
    torch.testing.assert_close(gradient * dt, (start - exact) / weight.sum(), rtol=0.01, atol=0)


@pytest.mark.parametrize("rule", [timing(1e-9), bptc(1e-9)], ids=lambda rule: type(rule).__name__)
def test_equal_time_constants_have_the_closed_form_with_lambert_w(rule):
    """(a, a): V(t) = Σ w_i (t − t_i) e^{−(t − t_i)}, τ = 1 (fast & deep, Göltz et al. 2021, τ_mem = τ_syn).

    θ e^t = t A − B with A = Σ w_i e^{t_i}, B = Σ w_i t_i e^{t_i}: t̂ = B/A − W(−(θ/A) e^{B/A}) on the upper branch, and
    dt̂/dw_i = −(t̂ − t_i) e^{t_i} / (A − θ e^t̂).
    """
    weight, starts, dt = torch.tensor([[1.6, 1.2, 1.0]], dtype=torch.float64), (0.1, 0.3, 0.5), 0.001
    neuron = Neuron(
        float(torch.exp(torch.tensor(-dt).double())), float(torch.exp(torch.tensor(-dt).double())), dt, max_spikes=1
    )
    step, gradient = first_spike(weight, single_spikes(starts, dt), neuron, rule)
    start = torch.tensor(starts).double()
    a = (weight[0] * start.exp()).sum()
    b = (weight[0] * start * start.exp()).sum()
    exact = float(b / a - lambertw(float(-1 / a * (b / a).exp())).real)
    assert step * dt == pytest.approx(exact, abs=3 * dt)
    slope = a - torch.tensor(exact).double().exp()
    torch.testing.assert_close(gradient * dt, -(exact - start) * start.exp() / slope, rtol=0.02, atol=0)


@pytest.mark.parametrize("rule", [lee(), hm2bp(), s4nn()], ids=lambda rule: type(rule).__name__)
def test_rules_of_whole_layers_run_on_the_plain_engine_and_compiled_ones_say_why_not(rule):
    torch.manual_seed(0)
    network = Network(["2x6x6", "conv4c3", "apool2", "flatten", "fc5"], Neuron.auto(0.9, 0.9, 20), rule, 0.05)
    output = network((torch.rand(20, 2, 2, 6, 6) < 0.4).float())
    (output.spikes_TBN.sum() + (output.times_TBN * 0.1).sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    dense = Network(["20", "fc5"], Neuron.auto(0.9, 0.9, 20), rule)
    choice = dense.choose_engine()
    assert choice.name == "layerwise"
    assert "differentiates whole layers" in choice.passed_over["event_driven"]
    with pytest.raises(ValueError, match="differentiates whole layers; use engine=auto"):
        Network(["20", "fc5"], Neuron.auto(0.9, 0.9, 20), rule, engine="event_driven")


@pytest.mark.slow
@pytest.mark.parametrize("rule", [lee(), hm2bp()], ids=lambda rule: type(rule).__name__)
def test_errors_of_counts_teach_what_rates_tell_apart(rule):
    """Four classes of Poisson rates, target counts 12 / 2: from chance to nearly all in 50 steps."""
    rates = torch.rand(4, 30, generator=torch.Generator().manual_seed(9)) * 0.3
    torch.manual_seed(0)
    network = Network(["30", "fc40", "fc4"], Neuron.auto(0.95, 0.9, T), rule)
    with torch.no_grad():
        for made in network.spiking:
            made.weight.add_(0.5 * made.fan_in**-0.5)
    optimizer, right = torch.optim.Adam(network.parameters(), 0.01), []
    for _ in range(50):
        label = torch.randint(4, (48,))
        output = network((torch.rand(T, 48, 30) < rates[label]).float())
        target = torch.where(torch.nn.functional.one_hot(label, 4).bool(), 12.0, 2.0)
        optimizer.zero_grad()
        count_loss(output.spikes_TBN, target).backward()
        optimizer.step()
        right.append(float((output.spikes_TBN.sum(0).argmax(1) == label).float().mean()))
    assert right[0] < 0.5
    assert sum(right[-5:]) / 5 > 0.85
