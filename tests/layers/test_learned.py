"""Decays and thresholds that are learned: their gradients, their range, and where they are refused."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from app.config import load_config
from app.engines import ENGINES
from app.errors import UserError
from app.kernels.reference import forward
from app.layers.learned import LearnedConstants
from app.layers.spiking import connect, fire
from app.layers.synapses import Dense
from app.network import Network
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential
from app.rules import RULES, Rule, activation, antlr, eventprop, hm2bp, lee, s4nn, timing
from app.rules.layer_rule import LayerRule

NAMES = ("alpha_v", "alpha_i", "threshold")
RESETS = ["both", "potential", "subtract"]


def constants(per, neurons, neuron):
    """Tensors of the constants, slightly different for each neuron."""
    size = (neurons,) if per == "neuron" else (1,)
    found = {}
    for name in NAMES:
        value = getattr(neuron, name) - 0.03 * torch.rand(size, dtype=torch.float64)
        found[name] = value.requires_grad_()
    return found


def setting(reset, steps=30, samples=3, inputs=8, neurons=5, seed=0):
    torch.manual_seed(seed)
    neuron = Neuron(0.9, 0.8, 0.4, 1.3, 0.7, reset=reset)
    spikes = (torch.rand(steps, samples, inputs, dtype=torch.float64) < 0.15).double()
    weight = torch.randn(neurons, inputs, dtype=torch.float64) + 0.5
    bias = torch.randn(neurons, dtype=torch.float64) * 0.1
    return neuron, spikes, weight, bias


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("per", ["layer", "neuron"])
@pytest.mark.parametrize("reset", RESETS)
def test_gradients_are_those_of_autograd_through_the_unrolled_neuron(reset, per, loops):
    """The activation rule that differentiates the resets is BPTT with a surrogate, and autograd can do that."""
    neuron, spikes, weight, bias = setting(reset)
    sigma = Exponential(1.0, 2.0)
    own = constants(per, 5, neuron)
    error = torch.randn(30, 3, 5, dtype=torch.float64)
    recurrent = torch.randn(5, 5, dtype=torch.float64) * 0.3 if loops else None

    tensor_neuron, rule = neuron.with_tensors(**own), activation(sigma, "rnn")
    found, _ = fire(*connect(spikes, spikes, weight, Dense()), bias, tensor_neuron, rule, recurrent)
    assert 0 < float(found.detach().mean()) < 1
    gradients = torch.autograd.grad((found * error).sum(), list(own.values()))

    drive, current, voltage, loss, spike = spikes @ weight.T, 0.0, 0.0, 0.0, torch.zeros(3, 5, dtype=torch.float64)
    alpha_v, alpha_i, theta = own.values()
    for t in range(30):
        heard = drive[t] if recurrent is None else drive[t] + spike @ recurrent.T
        current = alpha_i * current + neuron.beta_i * heard
        voltage = alpha_v * voltage + neuron.beta_v * current + neuron.beta_bias * bias
        hard = (voltage >= theta).double()
        slope = sigma(voltage, theta).detach()
        spike = hard.detach() + slope * ((voltage - theta) - (voltage - theta).detach())
        assert torch.equal(spike.detach(), found[t].detach())
        loss = loss + (spike * error[t]).sum()
        current = current * (1 - spike) if reset == "both" else current
        voltage = voltage - theta * spike if reset == "subtract" else voltage * (1 - spike)
    for one, other in zip(gradients, torch.autograd.grad(loss, list(own.values())), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class OfPotential(Rule):
    """δV = δS: the loss is a function of the potential itself."""

    zero_without_errors: ClassVar[bool] = True

    @staticmethod
    def membrane_error(error_S: Any) -> Any:
        return error_S


@pytest.mark.parametrize("reset", RESETS)
def test_gradients_of_the_potential_are_finite_differences(reset):
    """L = Σ c (V − θ) is smooth while the spikes stay where they are, on all paths but those through spikes."""
    neuron, spikes, weight, bias = setting(reset)
    error = torch.randn(30, 3, 5, dtype=torch.float64)
    own = constants("neuron", 5, neuron)
    found, _ = fire(*connect(spikes, spikes, weight, Dense()), bias, neuron.with_tensors(**own), OfPotential())
    gradients = torch.autograd.grad((found * error).sum(), list(own.values()))

    def loss(name, n, change):
        values = {key: value.detach().clone() for key, value in own.items()}
        values[name][n] += change
        run = forward(spikes @ weight.T, bias, neuron.with_tensors(**values))
        assert torch.equal(run.spikes_TBN, found.detach())
        return float(((run.potential_TBN - values["threshold"]) * error).sum())

    for name, gradient in zip(own, gradients, strict=True):
        for n in range(5):
            numeric = (loss(name, n, 1e-6) - loss(name, n, -1e-6)) / 2e-6
            assert float(gradient[n]) == pytest.approx(numeric, rel=1e-6, abs=1e-7)


def last_spike(rule, reset, dt=0.0005):
    """Of one neuron with bias that fires several times: d(time of its last spike)/d(constant), by rule and by hand."""
    neuron = Neuron(0.9995, 0.999, dt, 1.0, dt, reset=reset)
    weight, bias = torch.tensor([[2.5, 1.5, 2.0]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    spikes = torch.zeros(round(3 / dt), 1, 3, dtype=torch.float64)
    for i, time in enumerate((0.1, 0.6, 1.3)):
        spikes[round(time / dt), 0, i] = 1
    own = {name: torch.tensor([getattr(neuron, name)], dtype=torch.float64, requires_grad=True) for name in NAMES}
    fired, times = fire(*connect(spikes, spikes, weight, Dense()), bias, neuron.with_tensors(**own), rule)
    count, last = int(fired.sum()), int(fired[:, 0, 0].nonzero()[-1])
    assert count >= 3
    found = torch.autograd.grad(times[last, 0, 0], list(own.values()))
    for (name, value), gradient in zip(own.items(), found, strict=True):
        width = {"alpha_v": 1e-5, "alpha_i": 1e-5, "threshold": 0.01}[name]
        ends = []
        for change in (width, -width):
            moved = neuron.with_tensors(**(own | {name: value.detach() + change}))
            train = forward(spikes @ weight.T, bias, moved).spikes_TBN[:, 0, 0].detach()
            assert int(train.sum()) == count
            ends.append(int(train.nonzero()[-1]))
        yield name, float(gradient), (ends[0] - ends[1]) / (2 * width)


@pytest.mark.parametrize("reset", RESETS)
def test_eventprop_finds_how_spike_times_depend_on_constants(reset):
    """In small steps, spikes move continuously: the last one by what the constants do to all that came before."""
    for name, gradient, numeric in last_spike(eventprop(1e-9), reset):
        assert gradient == pytest.approx(numeric, rel=0.06), name


def test_the_timing_rule_finds_the_part_behind_the_neurons_last_spike():
    """What it leaves out of a time's dependence on weights (tests/rules/test_eventprop.py) it leaves out here too."""
    shares = [gradient / numeric for _, gradient, numeric in last_spike(timing(1e-9), "both")]
    assert all(0 <= share < 0.7 for share in shares), shares


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if not issubclass(rule, LayerRule)])
@pytest.mark.parametrize("per", ["layer", "neuron"])
def test_every_pointwise_rule_learns_constants(name, per):
    torch.manual_seed(0)
    network = Network(["6", "fc5", "fc4"], Neuron(0.9, 0.8, 0.5), RULES[name](), 0.3, learn=NAMES, learn_per=per)
    assert network.choose_engine().name == "layerwise"
    output = network((torch.rand(20, 3, 6) < 0.4).float())
    assert output.layers[0].counts_BN.sum() > 0
    (output.spikes_TBN.sum() + output.times_TBN.square().sum()).backward()
    for layer in network.spiking:
        for constant in NAMES:
            gradient = layer.learned.get_parameter(constant).grad
            assert gradient.shape == ((layer.shape[0],) if per == "neuron" else ())
            assert gradient.isfinite().all()
            assert gradient.abs().sum() > 0


def test_convolutions_learn_by_channel():
    network = Network(
        ["1x6x6", "conv3c3", "flatten", "fc4"], Neuron(0.9, 0.8, 0.5), antlr(), 0.3, learn=NAMES, learn_per="neuron"
    )
    output = network((torch.rand(20, 3, 1, 6, 6) < 0.4).float())
    output.spikes_TBN.sum().backward()
    assert network.spiking[0].learned.alpha_v.grad.shape == (3,)
    assert network.learned_values()["learned/layer1/alpha_v_min"] == pytest.approx(0.9)


def test_at_the_start_a_network_is_what_it_is_without():
    def run(**learned):
        torch.manual_seed(0)
        network = Network(["6", "fc5", "fc4"], Neuron(0.9, 0.8, 0.5), antlr(), 0.3, "layerwise", **learned)
        torch.manual_seed(1)
        spikes = (torch.rand(20, 3, 6) < 0.4).float()
        return network(spikes).times_TBN, network.record(spikes)[1].potential_TBN

    for one, other in zip(run(), run(learn=NAMES, learn_per="neuron"), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_no_step_leaves_the_range():
    constants = LearnedConstants(Neuron(0.99, 0.9, 1.0, threshold=2.0), NAMES, "layer", (3,))
    optimizer = torch.optim.SGD(constants.parameters(), 1.0)
    for sign in (1, -1, -1):
        for parameter in constants.parameters():
            parameter.grad = torch.full_like(parameter, 5.0 * sign)
        optimizer.step()
        alpha_v, alpha_i, theta = (float(value.detach()) for value in constants.values().values())
        assert 0 < alpha_v <= 1
        assert 0 < alpha_i <= 1
        assert theta > 0
    constants.set(alpha_v=0.5, threshold=0.25)
    assert float(constants.values()["alpha_v"].detach()) == pytest.approx(0.5)
    assert float(constants.values()["threshold"].detach()) == pytest.approx(0.25)


@pytest.mark.parametrize("engine", ["event_driven", "triton"])
def test_compiled_engines_say_that_they_take_constants(engine):
    network = Network(["6", "fc5", "fc4"], Neuron(0.9, 0.8, 0.5), antlr(), learn=["alpha_v", "threshold"])
    obstacle = ENGINES[engine].obstacle(network, None)
    if engine == "event_driven":
        assert "learns alpha_v and threshold, constants of all neurons in its kernels" in obstacle
    assert obstacle


@pytest.mark.parametrize("rule", [lee(), hm2bp(), s4nn()])
def test_rules_without_an_error_of_the_potential_refuse(rule):
    network = Network(["6", "fc4"], Neuron(0.9, 0.8, 0.5), rule, learn=["threshold"])
    with pytest.raises(ValueError, match="knows no constants that are learned"):
        network(torch.ones(5, 1, 6))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["neuron.learn=[tau]"],
            "neuron.learn=tau is no constant that can be learned; choose alpha_v, alpha_i",
        ),
        (["neuron.learn=[alpha_v,alpha_v]"], "neuron.learn holds alpha_v twice"),
        (["neuron.learn=[alpha_i]", "neuron.alpha_i=0"], "starts at alpha_i=0, the end of its range"),
        (["neuron.learn=[alpha_v]", "neuron.alpha_v=1"], "starts at alpha_v=1, the end of its range"),
        (["neuron.learn_lr_factor=2"], "has no effect without neuron.learn"),
        (["neuron.learn=[threshold]", "rule=lee"], "neuron.learn=[threshold]: rule=lee has gradients for weights"),
        (["neuron.learn=[threshold]", "engine=event_driven"], None),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(arguments, sentence):
    if sentence is None:
        load_config(["task=digits", *arguments])  # the engine itself refuses, when the network is built
        return
    with pytest.raises(UserError) as refused:
        load_config(["task=digits", *arguments])
    assert sentence in str(refused.value)
