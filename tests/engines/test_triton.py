"""The GPU engine in Triton's interpreter, on the CPU, against its plain twin: spikes exactly, then all gradients."""

from dataclasses import dataclass, replace

import pytest
import torch

from app import verify
from app.engines import ENGINES, triton
from app.equations import exp, maximum, minimum, sqrt, where
from app.events import SpikeEvents
from app.layers import AveragePool
from app.layers.synapses import Dense
from app.neuron.surrogate import SURROGATES, Exponential, Rectangular, Surrogate
from app.rules import RULES as REGISTERED
from app.rules import Rule, activation, antlr, timing
from app.rules.layer_rule import LayerRule
from app.rules.rule import QUANTITIES
from app.settings import setting
from tests.support import ROOT

GOLDEN = ROOT / "tests/golden"
RULES = {
    "activation": activation(),
    "rectangular": activation(Rectangular(0.8)),
    "rnn": activation(Exponential(0.3, 1.0), "rnn"),
    "slayer": activation(variant="slayer"),
    "timing": timing(),
    "antlr": antlr(),
    "weighted": antlr(0.5, 2.0, Rectangular(), min_slope=0.2),
    "spikes": antlr(lambda_tim=0.0),
    "times": antlr(lambda_act=0.0),
    "neither": antlr(0.0, 0.0),
    **{name: rule() for name, rule in REGISTERED.items() if not issubclass(rule, LayerRule)},
    **{f"{name}_surrogate": activation(surrogate()) for name, surrogate in SURROGATES.items()},
}
HALF = 0.5


@dataclass(frozen=True)
class Everything(Rule):
    """Asks for all that there is."""

    gain: float = setting(0.7, "a factor")
    surrogate: Surrogate = Exponential(0.5, 2.0)

    @staticmethod
    def membrane_error(
        error_S,
        error_t,
        spikes,
        potential,
        slope,
        current,
        bias,
        surrogate,
        lost_potential,
        lost_current,
        later_error,
        later_current_error,
        count,
        theta,
        alpha_v,
        alpha_i,
        beta_v,
        beta_i,
        keeps_potential,
        gain,
    ):
        """Several statements, numbers of the module and all functions."""
        near = abs(potential - theta) < HALF
        lost = lost_potential * later_error * alpha_v + lost_current * later_current_error * alpha_i
        scale = (
            sqrt(maximum(minimum(count, 3.0), 1.0)) + exp(current * -beta_i) + bias * beta_v + keeps_potential * alpha_i
        )
        by_time = where(spikes & ~near, error_t / maximum(abs(slope), 0.5), 0.0)
        return gain * (surrogate * error_S * scale - by_time) - where(near | spikes, 0.01 * lost, 0.0)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_with_and_without_a_limit_of_spikes(twins, name, limit):
    network = twins.make(["20", "fc63", "fc5"], 12, RULES[name], max_spikes=limit)
    output = twins.compare(network, twins.trains(12, 2, (20,)))
    for layer in output.layers:
        assert 0 < layer.spikes.sum() < layer.spikes.numel()


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
def test_a_rule_that_asks_for_everything_with_every_reset(twins, reset, limit):
    assert {*QUANTITIES} <= {*Everything().parameters()}
    network = twins.make(["20", "fc9", "fc5"], 12, Everything(), max_spikes=limit, reset=reset)
    twins.compare(network, twins.trains(12, 2, (20,)))


@pytest.mark.parametrize("reset", ["potential", "subtract"])
@pytest.mark.parametrize("name", ["rnn", "slayer", "antlr", "eventprop"])
def test_every_reset(twins, name, reset):
    network = twins.make(["20", "fc9", "fc5"], 12, RULES[name], reset=reset)
    twins.compare(network, twins.trains(12, 2, (20,)))


@pytest.mark.parametrize(
    ("steps", "batch", "spec"),
    [(1, 1, ["5", "fc1"]), (1, 3, ["63", "fc257"]), (130, 1, ["3", "fc1"]), (5, 3, ["7", "fc257", "fc63", "fc1"])],
    ids=str,
)
def test_odd_sizes(twins, steps, batch, spec):
    twins.compare(twins.make(spec, steps, RULES["antlr"]), twins.trains(steps, batch, (int(spec[0]),), 0.3))


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 0.0), (1.0, 1.0)], ids=str)
def test_every_neuron(twins, alphas):
    twins.compare(twins.make(["20", "fc9", "fc5"], 12, RULES["antlr"], alphas), twins.trains(12, 2, (20,)))


@pytest.mark.parametrize("name", ["antlr", "timing", "activation"])
def test_convolution_and_pooling_with_a_gradient_of_the_input(twins, name):
    network = twins.make(
        ["2x7x7", "conv3c3", "mpool2", "conv2c3", "apool2", "conv2c1", "flatten", "fc5"], 6, RULES[name]
    )
    spikes, errors = twins.trains(6, 2, (2, 7, 7), 0.4), []
    twins.compare(network, spikes)
    for engine in ("layerwise", "triton"):
        given = (spikes * 0.7).requires_grad_()
        twins.run(network, engine, given)
        errors.append(torch.zeros_like(given) if given.grad is None else given.grad)
    twins.assert_close({"input": errors[1]}, {"input": errors[0]})
    assert (errors[0].norm() > 0) == (name != "timing")


@pytest.mark.parametrize("channel", [0, 1])
def test_only_one_channel_has_an_error_and_it_ends_early(twins, channel):
    network, gradients = twins.make(["20", "fc9", "fc5"], 12, RULES["antlr"]), []
    spikes = twins.trains(2, 12, (20,)).transpose(0, 1)
    for engine in ("layerwise", "triton"):
        network.engine = engine
        network.zero_grad()
        network(spikes)[channel][:9].square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
    twins.assert_close(gradients[1], gradients[0])


def test_event_lists_and_stopping_at_the_first_output_spike(twins):
    network, spikes = twins.make(["20", "fc9", "fc5"], 12, RULES["antlr"]), twins.trains(12, 3, (20,), 0.1)
    outputs = []
    for engine in ("layerwise", "triton"):
        network.engine = engine
        outputs.append(network(SpikeEvents.from_dense(spikes), stop_at_first_output=True))
    plain, fast = outputs
    assert torch.equal(plain.spikes_TBN, fast.spikes_TBN)
    assert torch.equal(plain.decision_BL, fast.decision_BL)
    assert not fast.spikes_TBN.requires_grad
    for one, two in zip(plain.layers, fast.layers, strict=True):
        assert torch.equal(one.counts_BN, two.counts_BN)
        assert torch.equal(one.dense_spikes(), two.dense_spikes())


def test_a_second_backward_and_weights_changed_before_it(twins):
    network, spikes = twins.make(["20", "fc9", "fc5"], 6, RULES["antlr"]), twins.trains(6, 2, (20,))
    network.engine = "triton"
    output = network(spikes)
    output.spikes_TBN.retain_grad()
    loss = (output.spikes_TBN * output.times_TBN).sum()
    loss.backward(retain_graph=True)
    assert torch.equal(output.spikes_TBN.grad, output.times_TBN.detach())
    once = {name: p.grad.clone() for name, p in network.named_parameters()}
    loss.backward(retain_graph=True)
    assert all(torch.equal(p.grad, 2 * once[name]) for name, p in network.named_parameters())
    with torch.no_grad():
        network.spiking[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_poisoned_memory_is_never_read(twins, monkeypatch):
    network, spikes = twins.make(["2x5x5", "conv3c3", "mpool2", "flatten", "fc5"], 6, Everything()), None
    spikes = twins.trains(6, 2, (2, 5, 5))
    _, expected = twins.run(network, "triton", spikes)
    poison = {torch.float32: float("nan"), torch.int32: -(2**31), torch.uint8: 255}

    def poisoned(make):
        return lambda *args, **kwargs: (one := make(*args, **kwargs)).fill_(poison.get(one.dtype, 0))

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))
    _, gradients = twins.run(network, "triton", spikes)
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv_antlr", "maxpool_timing", "fc2_activation_slayer_train", "neuron_if_antlr"])
def test_golden_files(twins, name):
    case = verify.read_case(GOLDEN / f"{name}.npz")
    assert ("triton", "triton", "cpu") in verify.backends(case)
    outcome = verify.replay(case, "triton", "cpu")
    assert outcome.passed(1e-5), outcome


@dataclass(frozen=True)
class Dictionary(Rule):
    @staticmethod
    def membrane_error(error_S):
        return {error_S: 1.0}


@dataclass(frozen=True)
class Foreign(Rule):
    @staticmethod
    def membrane_error(error_S):
        return torch.tanh(error_S)


class Odd(Exponential):
    def __call__(self, potential, threshold):
        return potential


def test_what_stands_in_the_way_is_said_in_a_sentence(twins, monkeypatch):
    def obstacle(rule=RULES["antlr"], change=lambda network: None, spikes=None):
        network = twins.make(["1x6x6", "apool2", "flatten", "fc5"], 5, rule)
        change(network)
        return ENGINES["triton"].obstacle(network, spikes) or ""

    spikes = twins.trains(5, 2, (1, 6, 6))
    assert not obstacle(spikes=spikes)
    assert "its weights are float64 instead of float32" in obstacle(change=lambda network: network.double())
    assert "its input is float64" in obstacle(spikes=spikes.double())
    assert "has hooks" in obstacle(change=lambda network: network.layers[2].register_forward_hook(print))
    assert "AveragePool" in obstacle(change=lambda n: setattr(n.layers[0], "forward", print))
    assert "Mine" in obstacle(change=lambda n: n.layers.insert(0, type("Mine", (AveragePool,), {})(1)))
    assert "does not end with a spiking layer" in obstacle(change=lambda network: network.layers.pop(2))
    assert "its rule cannot be compiled" in obstacle(Dictionary())
    assert "refers to 'torch'" in obstacle(Foreign())
    assert "its surrogate Odd is more than an equation" in obstacle(activation(Odd()))
    monkeypatch.setattr(triton, "_installed", lambda: False)
    assert "Triton is not installed" in obstacle()
    monkeypatch.delenv("TRITON_INTERPRET")
    assert "it is on cpu, not on a GPU" in obstacle()


@pytest.mark.parametrize("spec", [["2x3x4", "flatten", "fc9", "fc5"], ["24", "fc9", "fc5"]], ids=str)
def test_few_events_are_gathered(twins, spec, monkeypatch):
    """In any order of neurons within a step; also a neuron that never fires, a silent sample, and no event at all."""
    network = twins.make(spec, 12, RULES["antlr"])
    spikes = twins.trains(12, 3, (24,), 0.2)
    spikes[:, 1], spikes[..., 5], spikes[..., 23] = 0, 0, 0
    monkeypatch.setattr(triton, "GATHERED_BELOW", 1.0)
    products = []
    monkeypatch.setattr(Dense, "drive", lambda self, *given: products.append(1) or torch.nn.functional.linear(*given))
    for given in (spikes, torch.zeros_like(spikes)):
        events = SpikeEvents.from_dense(given.unflatten(2, network.input_shape))
        plain, expected = twins.run(network, "layerwise", events)
        products.clear()
        fast, gradients = twins.run(network, "triton", events)
        assert len(products) == 1, "only the second layer's drive is a product"
        assert torch.equal(fast.spikes_TBN, plain.spikes_TBN)
        assert torch.equal(fast.layers[0].dense_spikes(), plain.layers[0].dense_spikes())
        twins.assert_close(gradients, expected)
    assert not gradients["layers.0.weight" if len(network.layers) == 2 else "layers.1.weight"].any()


def test_products_in_bf16_are_those_of_the_plain_engine(twins):
    network = twins.make(["2x6x6", "conv3c3", "flatten", "fc7", "fc3"], 9, antlr())
    trains = twins.trains(9, 3, (2, 6, 6))
    plain = twins.compare(network, trains)
    for layer in network.spiking:
        layer.synapses = replace(layer.synapses, products="bf16")
    rounded = twins.compare(network, trains)
    assert plain.layers[0].counts_BN.sum() > 0
    _, gradients = twins.run(network, "triton", trains)
    assert all(torch.isfinite(one).all() for one in gradients.values())
    assert rounded.spikes_TBN.dtype == torch.float32
