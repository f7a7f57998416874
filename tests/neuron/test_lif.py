"""The neuron's constants and its spike-response view."""

import pytest
import torch

from app.kernels.reference import forward
from app.neuron.lif import Neuron, centre_bias, unit_psp_peak
from app.neuron.psp import psp_kernel, psp_slope_kernel
from app.neuron.surrogate import Exponential, Rectangular
from app.rules import antlr

MODELS = {
    "integrate-and-fire": (1.0, 0.0),
    "leaky, no synaptic current": (0.9, 0.0),
    "alpha synapse": (0.93, 0.93),
    "non-leaky, exponential PSP": (1.0, 0.9),
    "non-leaky, linear PSP": (1.0, 1.0),
    "two time constants": (0.95, 0.8),
}


def closed_form(alpha_v: float, alpha_i: float, t: int) -> float:
    if alpha_v == alpha_i:
        return (t + 1) * alpha_v**t
    return (alpha_v ** (t + 1) - alpha_i ** (t + 1)) / (alpha_v - alpha_i)


@pytest.mark.parametrize("alphas", MODELS.values(), ids=MODELS.keys())
def test_psp_kernel_has_its_closed_form_and_peaks_at_the_threshold(alphas):
    neuron = Neuron.auto(*alphas, time_steps=60, threshold=1.3)
    expected = [neuron.beta_i * neuron.beta_v * closed_form(*alphas, t) for t in range(60)]
    kernel = psp_kernel(neuron, 60)
    torch.testing.assert_close(kernel, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    assert float(kernel.max()) == pytest.approx(1.3, rel=1e-14)


@pytest.mark.parametrize("alphas", MODELS.values(), ids=MODELS.keys())
def test_recursion_equals_spike_response_view(alphas):
    """V[t] = Σ_i w_i Σ_τ ε[t − τ] over the spikes after the neuron's own last spike, plus the bias."""
    torch.manual_seed(3)
    steps, inputs = 80, 12
    neuron = Neuron.auto(*alphas, steps)
    spikes_TM = (torch.rand(steps, inputs) < 0.15).double()
    weight_M, bias = 0.25 + 0.3 * torch.randn(inputs).double(), torch.tensor([0.02], dtype=torch.float64)
    run = forward((spikes_TM @ weight_M)[:, None, None], bias, neuron)
    psp = psp_kernel(neuron, steps)
    last, out = -1, 0
    for t in range(steps):
        taus = range(last + 1, t + 1)
        expected = sum(float(psp[t - tau] * (spikes_TM[tau] @ weight_M)) for tau in taus)
        expected += sum(neuron.alpha_v ** (t - tau) for tau in taus) * neuron.beta_bias * float(bias)
        assert float(run.potential_TBN[t]) == pytest.approx(expected, rel=1e-10, abs=1e-12)
        if run.spikes_TBN[t] > 0:
            last, out = t, out + 1
    assert 0 < out < steps


def test_slope_kernel_is_the_central_difference():
    neuron = Neuron.auto(0.9, 0.8, 30)
    psp, slope = psp_kernel(neuron, 31), psp_slope_kernel(neuron, 30)
    assert float(slope[0]) == pytest.approx(float(psp[1]) / 2)
    assert float(slope[7]) == pytest.approx(float(psp[8] - psp[6]) / 2)
    assert len(slope) == 30


def test_unit_peak_of_known_models():
    assert unit_psp_peak(1.0, 0.0, 50) == 1.0
    assert unit_psp_peak(1.0, 1.0, 50) == 50.0


@pytest.mark.parametrize("alpha_v", [0.9, 0.99, 1.0])
def test_centre_bias_first_reaches_threshold_in_the_middle(alpha_v):
    steps = 100
    neuron = Neuron.auto(alpha_v, 0.95, steps)
    bias = torch.tensor([centre_bias(neuron, steps) * (1 + 1e-9)], dtype=torch.float64)
    spikes = forward(torch.zeros(steps, 1, 1, dtype=torch.float64), bias, neuron).spikes_TBN
    assert int(spikes[:, 0, 0].argmax()) == steps // 2


@pytest.mark.parametrize(
    ("constants", "named"),
    [
        ({"threshold": 1e-60}, "threshold=1e-60 must be greater than 0, by 1.18e-38 or more"),
        ({"beta_v": 1e300}, r"beta_v=1e\+300 must be at most 3.4e\+38"),
        ({"beta_bias": float("nan")}, "beta_bias=nan must be at most"),
    ],
)
def test_constants_that_no_float32_holds_are_refused(constants, named):
    with pytest.raises(ValueError, match=named):
        Neuron(**{"alpha_v": 0.9, "alpha_i": 0.9, "beta_v": 1.0} | constants)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (lambda: Exponential(1e300), "alpha=1e"),
        (lambda: Rectangular(1e-50), "width=1e-50 must be 2.94e-39 or more"),
        (lambda: antlr(lambda_tim=1e300), "lambda_tim=1e"),
    ],
)
def test_rules_that_no_float32_holds_are_refused(made, named):
    with pytest.raises(ValueError, match=named):
        made()


def test_surrogates():
    potential = torch.tensor([0.0, 0.8, 1.0, 1.3, 9.0])
    exponential = Exponential(0.3, 2.0)(potential, 1.0)
    torch.testing.assert_close(exponential, 0.3 * torch.exp(-2.0 * (1 - potential).abs()))
    assert Rectangular(0.5)(potential, 1.0).tolist() == [0.0, 2.0, 2.0, 0.0, 0.0]
    assert potential.tolist() == pytest.approx([0.0, 0.8, 1.0, 1.3, 9.0])
