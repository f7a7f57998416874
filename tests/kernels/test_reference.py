"""The reference time loops, in float64 and on their own, before anything trains with them."""

from itertools import pairwise

import pytest
import torch

from app.kernels.reference import adjoint, forward
from app.layers.spiking import connect, fire, membrane_error
from app.layers.synapses import Dense
from app.neuron.lif import Neuron
from app.neuron.psp import psp_slope_kernel
from app.neuron.surrogate import Exponential, Rectangular
from app.rules import activation, antlr, timing
from tests.support.unrolled import unrolled

T, B, M, N = 40, 3, 9, 7


def make(seed: int = 0, rate: float = 0.2, alphas=(0.9, 0.8), **options):
    g = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(T, B, M, generator=g) < rate).double()
    weight = (torch.rand(N, M, generator=g, dtype=torch.float64) - 0.3).requires_grad_()
    bias = (torch.randn(N, generator=g, dtype=torch.float64) * 0.05).requires_grad_()
    return spikes, weight, bias, Neuron.auto(*alphas, T, **options)


def some_spikes(spikes):
    assert 0 < spikes.sum() < spikes.numel()
    return spikes


def test_hand_computed_trace():
    """α_V = α_I = ½, β = 1, θ = 1, no bias: V reaches 1.05 at step 2, one spike, then a fresh start."""
    neuron = Neuron(0.5, 0.5, 1.0, 1.0, 1.0, 1.0)
    drive = torch.tensor([0.6, 0.0, 0.6, 0.6], dtype=torch.float64).view(4, 1, 1)
    run = forward(drive, torch.zeros(1, dtype=torch.float64), neuron, keep_current=True)
    assert run.current_TBN.flatten().tolist() == pytest.approx([0.6, 0.3, 0.75, 0.6])
    assert run.potential_TBN.flatten().tolist() == pytest.approx([0.6, 0.6, 1.05, 0.6])
    assert run.spikes_TBN.flatten().tolist() == [0, 0, 1, 0]


def test_causality():
    spikes, weight, bias, neuron = make()
    changed = spikes.clone()
    changed[20:] = 1 - changed[20:]
    one, two = (forward(s @ weight.detach().T, bias.detach(), neuron).potential_TBN for s in (spikes, changed))
    assert torch.equal(one[:20], two[:20])
    assert not torch.equal(one[20], two[20])


def test_adjoint_scan_is_the_transpose_of_the_forward_scan():
    """With the spikes held fixed V is linear in the drive: <δV, A x> = <Aᵀ δV, x>."""
    spikes_in, weight, bias, neuron = make()
    out = some_spikes(forward(spikes_in @ weight.detach().T, bias.detach(), neuron).spikes_TBN)
    x, error = torch.randn(T, B, N, dtype=torch.float64), torch.randn(T, B, N, dtype=torch.float64)
    potential, current, image = torch.zeros(B, N).double(), torch.zeros(B, N).double(), []
    for t in range(T):
        gate = 1 - (out[t - 1] if t else torch.zeros(B, N))
        current = neuron.alpha_i * gate * current + neuron.beta_i * x[t]
        potential = neuron.alpha_v * gate * potential + neuron.beta_v * current
        image.append(potential)
    left = (error * torch.stack(image)).sum()
    right = (adjoint(error, out, neuron).drive_TBN * x).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


@pytest.mark.parametrize("alphas", [(0.9, 0.8), (0.95, 0.95), (1.0, 0.0), (0.9, 0.0), (1.0, 1.0), (0.0, 0.0)])
def test_timing_sum_equals_its_definition(alphas):
    """−Σ_{τ≥0} ε*[τ] δV[t+τ], stopped (inclusive) at the next spike at or after t."""
    spikes_in, weight, bias, neuron = make(alphas=alphas)
    out = some_spikes(forward(spikes_in @ weight.detach().T, bias.detach(), neuron).spikes_TBN)
    error, slope = torch.randn(T, B, N, dtype=torch.float64), psp_slope_kernel(neuron, T)
    expected = torch.zeros(T, B, N, dtype=torch.float64)
    for b in range(B):
        for n in range(N):
            for t in range(T):
                for tau in range(T - t):
                    expected[t, b, n] -= slope[tau] * error[t + tau, b, n]
                    if out[t + tau, b, n]:
                        break
    torch.testing.assert_close(adjoint(error, out, neuron).shift_TBN, expected, rtol=1e-11, atol=1e-12)


def test_slayer_scan_ignores_the_reset():
    spikes_in, weight, bias, neuron = make()
    out = some_spikes(forward(spikes_in @ weight.detach().T, bias.detach(), neuron).spikes_TBN)
    error = torch.randn(T, B, N, dtype=torch.float64)
    through = adjoint(error, out, neuron, through_reset=True)
    silent = adjoint(error, torch.zeros_like(out), neuron)
    assert torch.equal(through.drive_TBN, silent.drive_TBN)
    assert not torch.equal(through.drive_TBN, adjoint(error, out, neuron).drive_TBN)


@pytest.mark.parametrize("surrogate", [Exponential(0.7, 2.0), Rectangular(0.8)], ids=["exponential", "rectangular"])
@pytest.mark.parametrize("max_spikes", [None, 1, 2])
@pytest.mark.parametrize("variant", ["rnn", "srm"])
def test_activation_rule_equals_autograd_through_two_unrolled_layers(variant, max_spikes, surrogate):
    spikes, weight, bias, neuron = make(max_spikes=max_spikes)
    g = torch.Generator().manual_seed(9)
    upper = (torch.rand(4, N, generator=g, dtype=torch.float64)).requires_grad_()
    upper_bias = torch.full((4,), 0.05, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(T, B, 4, generator=g, dtype=torch.float64)
    parameters = (weight, bias, upper, upper_bias)

    detach = variant == "srm"
    hidden = unrolled(spikes @ weight.T, bias, neuron, surrogate, detach)
    out = unrolled(hidden @ upper.T, upper_bias, neuron, surrogate, detach)
    expected = torch.autograd.grad((out * cotangent).sum(), parameters)

    rule = activation(surrogate, variant)
    channels = fire(*connect(spikes, spikes, weight, Dense()), bias, neuron, rule)
    ours, _ = fire(*connect(*channels, upper, Dense()), upper_bias, neuron, rule)
    assert torch.equal(some_spikes(ours), out)
    for mine, other in zip(torch.autograd.grad((ours * cotangent).sum(), parameters), expected, strict=True):
        assert other.norm() > 0
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_reset_paths_change_the_gradient():
    spikes_in, weight, bias, neuron = make()
    run = forward(spikes_in @ weight.detach().T, bias.detach(), neuron, keep_current=True)
    error = torch.randn(T, B, N, dtype=torch.float64)
    along = membrane_error(error, error, run, torch.zeros(4), neuron, activation(variant="rnn"))
    with_paths = adjoint(along, run.spikes_TBN, neuron).drive_TBN
    without = membrane_error(error, error, run, torch.zeros(4), neuron, activation())
    assert not torch.allclose(with_paths, adjoint(without, run.spikes_TBN, neuron).drive_TBN)


def crossing_time(weight_M, starts_M, dt, horizon=3.0, tau_v=1.0, tau_i=0.5):
    """First threshold crossing of Σ_i w_i ε(t − s_i), in units of time, interpolated between steps of length dt.

    One neuron in float64 through the reference loop; also the spike's step and what the timing rule needs.
    """
    steps = round(horizon / dt)
    # the continuous PSP (e^{−t/τ_V} − e^{−t/τ_I}) / (1/τ_I − 1/τ_V), sampled with steps of dt
    alpha_v, alpha_i = (float(torch.exp(torch.tensor(-dt / tau, dtype=torch.float64))) for tau in (tau_v, tau_i))
    # in units so large that the clamp of V* at 0.01 per step is never reached, however small dt
    neuron = Neuron(alpha_v, alpha_i, beta_v=1e4 * dt, beta_i=1.0, beta_bias=dt, threshold=1.5e3)
    spikes = torch.zeros(steps, 1, len(starts_M), dtype=torch.float64)
    for i, start in enumerate(starts_M):
        spikes[round(start / dt), 0, i] = 1
    return spikes, neuron


def interpolated(weight, spikes, neuron, dt):
    potential = forward(spikes @ weight.T, torch.zeros(1, dtype=torch.float64), neuron).potential_TBN[:, 0, 0]
    step = int((potential >= neuron.threshold).nonzero()[0])
    before, at = float(potential[step - 1]), float(potential[step])
    return (step - 1 + (neuron.threshold - before) / (at - before)) * dt, step


def timing_errors():
    """(dt, worst relative error of the rule's dt̂/dW against central finite differences), for ever finer steps."""
    weight = torch.tensor([[0.5, 0.35, 0.4, -0.1]], dtype=torch.float64)
    starts = [0.1, 0.25, 0.4, 0.05]
    rows = []
    for dt in (0.05, 0.025, 0.0125, 0.00625, 0.003125):
        spikes, neuron = crossing_time(weight, starts, dt)
        _, step = interpolated(weight, spikes, neuron, dt)
        parameter = weight.clone().requires_grad_()
        bias = torch.zeros(1, dtype=torch.float64)
        _, times = fire(*connect(spikes, spikes, parameter, Dense()), bias, neuron, timing())
        (times[step, 0, 0] * dt).backward()
        numeric = torch.zeros_like(weight)
        for i in range(weight.shape[1]):
            for sign in (1, -1):
                shifted = weight.clone()
                shifted[0, i] += sign * 1e-6
                numeric[0, i] += sign * interpolated(shifted, spikes, neuron, dt)[0] / 2e-6
        rows.append((dt, float((parameter.grad - numeric).norm() / numeric.norm())))
    return rows


def test_timing_rule_agrees_with_finite_differences_ever_closer_as_the_step_is_refined():
    errors = [error for _, error in timing_errors()]
    assert all(later < earlier for earlier, later in pairwise(errors)), errors
    assert errors[-1] < errors[0] / 8, errors  # first order: the step was refined by 16
    assert errors[-1] < 0.01, errors


def test_timing_error_of_a_hidden_spike_agrees_with_a_moved_input_spike():
    """δt̂_pre: moving an input spike by one step either way moves the interpolated crossing by what the rule says."""
    weight, starts, dt = torch.tensor([[0.5, 0.35, 0.4]], dtype=torch.float64), [0.1, 0.25, 0.4], 0.001
    spikes, neuron = crossing_time(weight, starts, dt)
    _, step = interpolated(weight, spikes, neuron, dt)
    times_in = torch.zeros_like(spikes).requires_grad_()
    channel = connect(spikes, times_in, weight, Dense())
    _, times = fire(*channel, torch.zeros(1, dtype=torch.float64), neuron, timing())
    times[step, 0, 0].backward()
    for i, start in enumerate(starts):
        moved = []
        for shift in (1, -1):
            shifted = spikes.clone()
            shifted[:, 0, i] = spikes[:, 0, i].roll(shift)
            moved.append(interpolated(weight, shifted, neuron, dt)[0] / dt)
        assert float(times_in.grad[round(start / dt), 0, i]) == pytest.approx((moved[0] - moved[1]) / 2, rel=0.02)


def test_max_spikes_stops_spikes_but_not_the_potential():
    spikes, weight, bias, neuron = make(max_spikes=1)
    free = forward(spikes @ weight.detach().T, bias.detach(), make()[3])
    single = forward(spikes @ weight.detach().T, bias.detach(), neuron)
    first = free.spikes_TBN * (free.spikes_TBN.cumsum(0) == 1)
    assert torch.equal(single.spikes_TBN, first)
    assert (free.spikes_TBN.sum(0) > 1).any()
    assert single.potential_TBN.max() > neuron.threshold + 0.5


@pytest.mark.parametrize("rule", [activation(), activation(variant="rnn"), timing(), antlr()], ids=str)
def test_no_error_where_no_spike_is_allowed_any_more(rule):
    spikes, weight, bias, neuron = make(max_spikes=1)
    drive = (spikes @ weight.detach().T).requires_grad_()
    channels = fire(drive, torch.zeros(()).expand(drive.shape), bias.detach(), neuron, rule)
    (channels[0].sum() + channels[1].sum()).backward()
    fired_before = channels[0].detach().cumsum(0) - channels[0].detach() >= 1
    assert fired_before.any()
    assert (drive.grad[fired_before] == 0).all()


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("rule", [activation(), activation(variant="rnn"), timing(), antlr()], ids=str)
def test_shortest_windows(steps, rule):
    neuron = Neuron.auto(0.9, 0.9, steps)
    weight = torch.full((2, 1), 1.1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    spikes = torch.ones(steps, 1, 1, dtype=torch.float64)
    out, times = fire(*connect(spikes, spikes, weight, Dense()), bias, neuron, rule)
    (out.sum() + times.sum()).backward()
    assert out[-1].all()
    assert torch.isfinite(weight.grad).all()


def test_dtype_is_kept():
    spikes, weight, bias, neuron = make()
    out, times = fire(*connect(spikes.float(), spikes.float(), weight.float(), Dense()), bias.float(), neuron, antlr())
    assert out.dtype == times.dtype == torch.float32
