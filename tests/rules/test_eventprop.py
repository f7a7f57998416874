"""EventProp against exact gradients in continuous time, and against what the timing rule leaves out."""

import re

import numpy as np
import pytest
import torch

from app import verify
from app.errors import UserError
from app.exact import gradients, in_steps, read_exact
from app.golden import relative_error
from app.kernels.reference import forward
from app.layers.spiking import connect, fire
from app.layers.synapses import Dense
from app.neuron.lif import Neuron
from app.rules import eventprop, timing
from tests.support.continuous import write_case


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("exact") / "case.npz")


def error(case, step_s, reset):
    """The rule's worse relative error against finite differences in continuous time."""
    exact = read_exact(case)
    run = in_steps(exact, step_s, reset=reset)
    assert run.same
    found = gradients(run, eventprop(1e-30))
    golden = [exact.arrays[f"grad_weight{k}_MN"] for k in (1, 2)]
    return max(relative_error(torch.tensor(f), torch.tensor(g)) for f, g in zip(found, golden, strict=True))


@pytest.mark.parametrize("reset", ["potential", "subtract"])
def test_gradients_are_exact_in_the_limit_of_small_steps(case, reset):
    """At a spike V is θ: to set it to 0 and to take θ from it are the same in continuous time."""
    errors = [error(case, step_s, reset) for step_s in (2e-6, 1e-7, 5e-9)]
    assert errors[0] < 0.1
    assert errors[1] < errors[0] / 5
    assert errors[2] < min(errors[1] / 5, 1e-3)


def later_spikes(rule, reset, dt=0.0005, change=0.08):
    """Of one neuron with bias: dt̂/dw of its last spike by a rule, and by finite differences."""
    neuron = Neuron(np.exp(-dt), np.exp(-2 * dt), dt, 1.0, dt, reset=reset)
    weight, bias = torch.tensor([[2.5, 1.5, 2.0]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    spikes = torch.zeros(round(3 / dt), 1, 3, dtype=torch.float64)
    for i, time in enumerate((0.1, 0.6, 1.3)):
        spikes[round(time / dt), 0, i] = 1
    changed = weight + change * torch.cat([torch.eye(3), -torch.eye(3)])
    fired = forward(spikes @ changed.T, bias, neuron).spikes_TBN[:, 0]
    up, down = (len(fired) - 1 - fired.flip(0).argmax(0)).double().view(2, 3)

    parameter = weight.clone().requires_grad_()
    own, times = fire(*connect(spikes, spikes, parameter, Dense()), bias, neuron, rule)
    assert own.sum() >= 3
    assert (fired.sum(0) == own.sum()).all()
    (times[own[:, 0, 0].nonzero()[-1], 0, 0] * dt).sum().backward()
    return parameter.grad, ((up - down) * dt / (2 * change))[None]


@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
def test_the_bias_moves_what_follows_a_spike(reset):
    """With both states reset, the bias is all by which a later spike depends on an earlier one."""
    found, numeric = later_spikes(eventprop(1e-9), reset)
    assert relative_error(found, numeric) < 0.08
    found, numeric = later_spikes(timing(1e-9), reset)
    assert relative_error(found, numeric) > 0.3


def test_with_both_states_reset_and_no_bias_it_is_the_timing_rule(case):
    run = in_steps(read_exact(case), 1e-7, reset="both")
    assert len(run.output_error_E)
    run = run._replace(output_error_E=np.ones(len(run.output_error_E)))
    for one, other in zip(gradients(run, eventprop(1e-30)), gradients(run, timing(1e-30)), strict=True):
        assert np.abs(other).max() > 0
        assert relative_error(torch.tensor(one), torch.tensor(other)) < 1e-4


def test_the_command_prints_a_table_and_passes(case, capsys):
    assert verify.main(["--exact", str(case)]) == 0
    printed = capsys.readouterr().out
    assert "ok   eventprop: its error falls with the step and ends below 0.02" in printed
    names = re.search("time_us +(.*)", printed)[1].split()
    assert names[:3] == ["eventprop", "timing", "antlr"]
    last = [line.split() for line in printed.splitlines() if " same " in line][-1]
    assert float(last[4]) < 1e-3 < 0.1 < float(last[6])
    assert float(printed.split("plain engine differ by ")[1].split()[0]) < 1e-10


def test_the_command_fails_on_other_gradients_and_on_other_spikes(case, tmp_path, capsys):
    arrays = dict(np.load(case))
    np.savez(tmp_path / "other.npz", **arrays | {"grad_weight1_MN": arrays["grad_weight1_MN"] * 1.1})
    assert verify.main(["--exact", str(tmp_path / "other.npz")]) == 1
    assert "FAIL eventprop" in capsys.readouterr().out
    np.savez(tmp_path / "other.npz", **arrays | {"weight2_MN": arrays["weight2_MN"] / 2})
    assert verify.main(["--exact", str(tmp_path / "other.npz")]) == 1
    assert "are not those of the file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tau_mem_s": None}, "array 'tau_mem_s' is missing"),
        ({"tau_syn_s": np.array(-1.0)}, "tau_syn_s must be one positive number"),
        ({"threshold": np.array(np.nan)}, "array 'threshold' must hold finite numbers"),
        ({"input_neurons": np.full(12, 9)}, "input spikes must be of neurons 0 to 3"),
        ({"input_times_s": np.arange(12.0)[::-1] / 1e3}, "input_times_s must be sorted"),
        ({"hidden_times_s": np.zeros(3)}, "hidden_times_s and hidden_neurons must be lists of equal length"),
        ({"grad_weight2_MN": np.zeros((3, 3))}, "grad_weight2_MN has shape"),
        ({"weight1_MN": np.zeros((4, 7))}, "must be two layers, one behind the other"),
        ({"output_error_per_s": np.zeros(1)}, "output_error_per_s must have one number for each output spike"),
        ({"input_times_s": np.array(["a"] * 12)}, "array 'input_times_s' must hold finite numbers"),
    ],
)
def test_unusable_files_are_refused(case, tmp_path, changes, named):
    arrays = {key: array for key, array in (dict(np.load(case)) | changes).items() if array is not None}
    np.savez(tmp_path / "case.npz", **arrays)
    with pytest.raises(UserError, match=named):
        verify.main(["--exact", str(tmp_path / "case.npz")])


@pytest.mark.shared
@pytest.mark.slow
def test_networks_of_a_public_implementation(shared_dir, capsys):
    assert verify.main(["--exact", str(shared_dir / "golden_eventprop")]) == 0
    assert "5 files: eventprop converges to the exact gradients of 5" in capsys.readouterr().out
