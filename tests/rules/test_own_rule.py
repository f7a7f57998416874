"""A rule of one file: both engines run its equation, and what they cannot run they refuse."""

import importlib.util
from dataclasses import dataclass

import pytest
import torch

from app import Network, Neuron, Rule, SpikeEvents
from app.engines import ENGINES, NetworkOutput
from app.equations import exp, where
from app.neuron.surrogate import Surrogate
from app.rules import RULES
from app.settings import setting
from tests.support import ROOT

EXAMPLES = ROOT / "examples"
STEPS = 40
SOMETHING = torch.tensor(2.0)


@pytest.fixture(scope="module")
def softened():
    spec = importlib.util.spec_from_file_location("my_rule", EXAMPLES / "my_rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.Softened
    RULES.remove("softened")


@dataclass(frozen=True)
class Bell(Surrogate):
    """A surrogate of one's own."""

    width: float = setting(0.5, "its width", gt=0)

    @staticmethod
    def derivative(potential, theta, width):
        distance = (potential - theta) / width
        return exp(-distance * distance)


@dataclass(frozen=True)
class Everything(Rule):
    """Asks for all there is, through a surrogate of one's own."""

    share: float = setting(0.3, "a number")
    surrogate: Surrogate = setting(Bell(0.7), "its surrogate")

    @staticmethod
    def membrane_error(
        error_S,
        error_t,
        spikes,
        potential,
        slope,
        current,
        bias,
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
        share,
        surrogate,
    ):
        near = (abs(potential - theta) < share) | ~spikes
        kept = alpha_v * later_error * (lost_potential + share) + alpha_i * later_current_error * lost_current
        own = error_S * surrogate * exp(-abs(potential)) * (beta_v + beta_i) + current * bias + count * share
        return where(near & spikes, own, own * share) - 0.01 * kept + where(spikes, slope * error_t * 0.1, 0.0)


class Zero(Rule):
    """No error at all, also where errors are."""

    @staticmethod
    def membrane_error():
        return 0.0


class Constant(Rule):
    """An error where there is none: nothing may be skipped."""

    @staticmethod
    def membrane_error(error_S):
        return error_S * 0.0 + 0.5


class Foreign(Rule):
    """Refers to what compiled code cannot know."""

    @staticmethod
    def membrane_error(error_S):
        return error_S * SOMETHING


class Confused(Rule):
    """Reckons with a set of neurons."""

    @staticmethod
    def membrane_error(error_S, spikes):
        return error_S * spikes


class Unknown(Rule):
    """Asks for what there is not."""

    @staticmethod
    def membrane_error(error_S, weather):
        return error_S * weather


def gradients(rule, engine, reset="both", max_spikes=None):
    torch.manual_seed(0)
    neuron = Neuron.auto(0.95, 0.9, STEPS, max_spikes=max_spikes, reset=reset)
    network = Network(["30", "fc70", "fc65", "fc10"], neuron, rule, 0.01, engine)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(3).add_(0.9 * layer.fan_in**-0.5)
    generator = torch.Generator().manual_seed(1)
    output = network((torch.rand(STEPS, 3, 30, generator=generator) < 0.1).float())
    sum(
        (c[: STEPS // 2] * torch.randn(c[: STEPS // 2].shape, generator=generator)).sum() for c in output[:2]
    ).backward()
    assert all(0 < a.counts_BN.sum() < STEPS * a.counts_BN.numel() for a in output.layers)
    return [p.grad for p in network.parameters()]


def agree(rule, **options):
    for compiled, plain in zip(
        gradients(rule, "event_driven", **options), gradients(rule, "layerwise", **options), strict=True
    ):
        assert plain.norm() > 0
        assert (compiled - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
def test_both_engines_run_a_rule_of_one_file(softened, reset):
    agree(softened(softening=0.2), reset=reset)


@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
@pytest.mark.parametrize("max_spikes", [None, 2])
def test_an_equation_may_ask_for_everything(reset, max_spikes):
    agree(Everything(), reset=reset, max_spikes=max_spikes)


def test_a_rule_with_errors_of_its_own_is_not_cut_short():
    agree(Constant())


def test_a_rule_without_errors_trains_nothing_on_any_engine():
    for engine in ("event_driven", "layerwise"):
        assert all(gradient is None or not gradient.any() for gradient in gradients(Zero(), engine))


@pytest.mark.parametrize(("rule", "named"), [(Foreign(), "SOMETHING"), (Confused(), "cannot be compiled")])
def test_what_cannot_be_compiled_is_refused_and_runs_on_the_plain_engine(rule, named):
    with pytest.raises(ValueError, match=rf"engine=event_driven cannot run this network: its rule.*{named}"):
        gradients(rule, "event_driven")
    assert all(gradient.any() for gradient in gradients(rule, "auto"))


def test_an_unknown_quantity_is_refused_at_once():
    with pytest.raises(ValueError, match=r"Unknown.membrane_error asks for 'weather', which does not exist"):
        Network(["3", "fc2"], Neuron.auto(0.9, 0.9, 5), Unknown())


def test_settings_are_checked(softened):
    with pytest.raises(ValueError, match="softening"):
        softened(softening=1e300)


def test_an_engine_registered_from_here_is_used():
    ran = []

    class Mine:
        preference = 100

        def obstacle(self, network, spikes):
            return "it is Tuesday" if len(network.spiking) > 1 else None

        def run(self, network, spikes, stop_at_first_output=False) -> NetworkOutput:
            ran.append(spikes)
            return ENGINES["layerwise"].run(network, spikes, stop_at_first_output)

    ENGINES.register("mine")(Mine())
    try:
        neuron, spikes = Neuron.auto(0.9, 0.9, 5), torch.ones(5, 1, 3)
        network = Network(["3", "fc2"], neuron, Zero())
        network(spikes)
        network(SpikeEvents.from_dense(spikes))
        assert len(ran) == 2
        deep = Network(["3", "fc2", "fc2"], neuron, Zero())
        assert deep.choose_engine().passed_over["mine"] == "it is Tuesday"
        with pytest.raises(ValueError, match="it is Tuesday"):
            Network(["3", "fc2", "fc2"], neuron, Zero(), engine="mine")
    finally:
        ENGINES.remove("mine")
