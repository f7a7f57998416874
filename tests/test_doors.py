"""The doors from Python into the core: what does not fit is refused, in the same words on every engine."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from app import (
    Network,
    Neuron,
    Rule,
    SpikeEvents,
    activation,
    antlr,
    count_loss,
    latency_loss,
    spike_train_loss,
    target_counts,
    timing,
)
from app.losses.latency import plain_latency_loss
from app.neuron.surrogate import Exponential, Rectangular

STEPS, SAMPLES, INPUTS, CLASSES = 20, 4, 64, 10
ENGINES = ["layerwise", "event_driven"]


def make(rule=None, engine="auto", spec=("64", "fc70", "fc10"), **options):
    torch.manual_seed(0)
    neuron = Neuron.auto(0.95, 0.9, STEPS, **options)
    network = Network(list(spec), neuron, rule or antlr(), 0.01, engine=engine)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(3).add_(0.9 * layer.fan_in**-0.5)
    return network


def trains(*shape, rate=0.2):
    shape = shape or (STEPS, SAMPLES, INPUTS)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < rate).float()


def outputs():
    spikes = trains(STEPS, SAMPLES, CLASSES, rate=0.1)
    times = spikes * torch.arange(STEPS).view(-1, 1, 1)
    return spikes.requires_grad_(), times.requires_grad_()


def labels(*values):
    return torch.tensor(values)


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label_B", "named"),
    [
        (labels(1, 2), "label_B of shape"),
        (labels(*range(8)), "label_B of shape"),
        (labels(1, 2, 3, 10), "classes from 0 to 9"),
        (labels(1, 2, 3, 10_000_000), "classes from 0 to 9"),
        (labels(1, 2, 3, -1), "classes from 0 to 9"),
        (labels(1, 2, 3, 4)[:, None], "label_B of shape"),
        (labels(1.0, 2.0, 3.0, 4.0), "label_B of shape"),
        (np.array([1, 2, 3, 4]), "label_B"),
    ],
)
@pytest.mark.parametrize("double", [False, True], ids=["compiled", "plain"])
def test_the_latency_loss_refuses_labels_that_do_not_fit(label_B, named, double):
    spikes, times = (c.double() if double else c for c in outputs())
    with pytest.raises(ValueError, match=named):
        latency_loss(spikes, times, label_B)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_the_latency_loss_takes_labels_of_any_integer_type(dtype):
    spikes, times = outputs()
    label_B = labels(1, 2, 3, 4)
    expected = plain_latency_loss(spikes, times, label_B, 1.0, 0.1, 0.0)
    assert float(latency_loss(spikes, times, label_B.to(dtype))) == pytest.approx(float(expected))


def test_losses_refuse_channels_targets_and_reductions_that_do_not_fit():
    spikes, times = outputs()
    label_B = labels(1, 2, 3, 4)
    for call, named in (
        (lambda: latency_loss(spikes, times[:-1], label_B), "times_TBN of shape"),
        (lambda: latency_loss(spikes, times, label_B, reduction="sum"), "reduction='sum' must be one of mean, none"),
        (lambda: latency_loss(spikes[0], times[0], label_B), "spikes_TBN of shape"),
        (lambda: count_loss(spikes, torch.ones(CLASSES)), "target_BN of shape"),
        (lambda: count_loss(spikes, target_counts(label_B, CLASSES, 1, 0), reduction="sum"), "reduction='sum'"),
        (lambda: target_counts(labels(1, 10), CLASSES, 1, 0), "classes from 0 to 9"),
        (lambda: target_counts(labels(1, -1), CLASSES, 1, 0), "classes from 0 to 9"),
        (lambda: spike_train_loss(spikes, times, torch.zeros(STEPS, 1, CLASSES)), "target_TBN of shape"),
        (lambda: spike_train_loss(spikes, times, torch.zeros_like(spikes), reduction="sum"), "reduction='sum'"),
    ):
        with pytest.raises(ValueError, match=named):
            call()


@pytest.mark.parametrize("loss", ["latency", "count"])
def test_second_derivatives_are_refused(loss):
    network, label_B = make(), labels(1, 2, 3, 4)
    output = network(trains())
    if loss == "latency":
        value = latency_loss(*output[:2], label_B)
    else:
        value = count_loss(output.spikes_TBN, target_counts(label_B, CLASSES, 3, 0))
    with pytest.raises(ValueError, match="create_graph"):
        torch.autograd.grad(value, list(network.parameters()), create_graph=True)


# --- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("spikes", "named"),
    [
        (trains(STEPS, SAMPLES, 32), "shape \\[T, B, 32\\], but the network's input is 64"),
        (trains(STEPS, SAMPLES, 65), "shape \\[T, B, 65\\]"),
        (trains(0, SAMPLES, INPUTS), "0 time steps"),
        (trains(STEPS, 0, INPUTS), "0 samples"),
        (trains(STEPS, INPUTS), "must have the axes"),
        (trains().numpy(), "is a ndarray"),
        (SpikeEvents.from_dense(trains(STEPS, SAMPLES, 65)), "shape \\[T, B, 65\\]"),
    ],
)
def test_inputs_of_another_size_are_refused(engine, spikes, named):
    with pytest.raises(ValueError, match=named):
        make(engine=engine)(spikes)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(2, 32, 32), (34, 34, 2), (1, 34, 68)])
def test_shapes_are_compared_axis_by_axis(engine, shape):
    network = make(spec=["2x34x34", "flatten", "fc10"], engine=engine)
    with pytest.raises(ValueError, match="the network's input is 2x34x34"):
        network(trains(STEPS, 1, *shape))
    with pytest.raises(ValueError, match="the network's input is 2x34x34"):
        network(SpikeEvents.from_dense(trains(STEPS, 1, *shape)))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_axis_stands_for_as_many_neurons_row_by_row(engine):
    network, spikes = make(spec=["1x8x8", "flatten", "fc10"], engine=engine), trains()
    shaped = network(spikes.unflatten(2, (1, 8, 8))).spikes_TBN
    assert 0 < shaped.sum() < shaped.numel()
    assert torch.equal(network(spikes).spikes_TBN, shaped)
    assert torch.equal(network(SpikeEvents.from_dense(spikes)).spikes_TBN, shaped)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_whole_numbers_are_spikes(engine, dtype):
    network, spikes = make(engine=engine), trains()
    assert torch.equal(network(spikes.to(dtype)).spikes_TBN, network(spikes).spikes_TBN)


def events(steps=(0, 1, 1), neurons=(0, 0, 3), offsets=(0, 1, 3), kinds=(torch.int32, torch.int32, torch.int64)):
    parts = (torch.tensor(p, dtype=kind) for p, kind in zip((steps, neurons, offsets), kinds, strict=True))
    return SpikeEvents(*parts, STEPS, (INPUTS,))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"steps": (0, 1)}, "steps_E has 2 and neurons_E 3"),
        ({"offsets": (0, 1, 4)}, "offsets_B1 must rise"),
        ({"offsets": (1, 2, 3)}, "offsets_B1 must rise"),
        ({"offsets": (0, 3, 2)}, "offsets_B1 must rise"),
        ({"offsets": ()}, "offsets_B1 is empty"),
        ({"steps": (0, 1, 0)}, "sorted by step"),
        ({"steps": (0, 1, STEPS)}, "steps_E must hold numbers from 0 to 19"),
        ({"steps": (-1, 1, 1)}, "steps_E must hold numbers from 0 to 19"),
        ({"neurons": (0, 0, INPUTS)}, "neurons_E must hold numbers from 0 to 63"),
        ({"neurons": (0, 0, -1)}, "neurons_E must hold numbers from 0 to 63"),
        ({"neurons": (0, 3, 3)}, "an event is there twice"),
        ({"kinds": (torch.int64, torch.int32, torch.int64)}, "steps_E must be a tensor of int32"),
        ({"kinds": (torch.int32, torch.float32, torch.int64)}, "neurons_E must be a tensor of int32"),
        ({"kinds": (torch.int32, torch.int32, torch.int32)}, "offsets_B1 must be a tensor of int64"),
    ],
)
def test_events_made_by_hand_are_checked(engine, given, named):
    network = make(engine=engine)
    network(events())
    with pytest.raises(ValueError, match=named):
        network(events(**given))


def test_the_gradient_of_an_input_is_that_of_its_spikes():
    """dL/dS and dL/dt̂ have different units: they are never added."""
    network, spikes = make(spec=["64", "fc10"]), trains().requires_grad_()
    cotangent = torch.randn(STEPS, SAMPLES, CLASSES, generator=torch.Generator().manual_seed(3))
    (network(spikes).spikes_TBN * cotangent).sum().backward()
    both = spikes.grad.clone()
    network.rule, spikes.grad = activation(), None
    (network(spikes).spikes_TBN * cotangent).sum().backward()
    torch.testing.assert_close(both, spikes.grad)


# --- the network that is there ----------------------------------------------------------------------------------------


class Silent(Rule):
    """A rule in the words of before: whole tensors, and no error at all."""

    def membrane_error(self, error_S, error_t, spikes, potential, theta):
        return torch.zeros_like(potential)


class Duck:
    """Has a width, and is another surrogate than the rectangular one."""

    width = 1.0

    def __call__(self, potential, threshold):
        return torch.zeros_like(potential)


def gradients(network, spikes):
    network.zero_grad()
    network(spikes).spikes_TBN.sum().backward()
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("rule", [Silent(), activation(Duck())], ids=["rule", "surrogate"])
def test_a_rule_that_the_compiled_engine_does_not_know_is_an_obstacle(rule):
    network = make(rule)
    assert network.choose_engine().name == "layerwise"
    assert all(not g.any() for g in gradients(network, trains()))
    network.engine = "event_driven"
    with pytest.raises(ValueError, match="engine=event_driven cannot run this network"):
        network(trains())


def prune(layer):
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)


def old_weight_norm(layer):
    nn.utils.weight_norm(layer)


def new_weight_norm(layer):
    nn.utils.parametrizations.weight_norm(layer)


def forward_hook(layer):
    layer.register_forward_hook(lambda module, given, channels: tuple(c * 0 for c in channels))


def own_forward(layer):
    plain = layer.forward
    layer.forward = lambda *arguments: tuple(c * 0 for c in plain(*arguments))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("change", [prune, old_weight_norm, new_weight_norm, forward_hook, own_forward])
def test_what_is_put_on_a_layer_counts(change):
    network, spikes = make(), trains()
    assert network.choose_engine().name == "event_driven"
    change(network.layers[0])
    assert network.choose_engine().name == "layerwise"
    network(spikes).spikes_TBN.sum().backward()
    network.engine = "event_driven"
    with pytest.raises(ValueError, match="cannot run this network"):
        network(spikes)


def test_hooks_fire():
    network, fired = make(), []
    network.layers[1].register_forward_hook(lambda *_: fired.append("forward"))
    network.layers[1].register_full_backward_hook(lambda *_: fired.append("backward"))
    network(trains()).spikes_TBN.sum().backward()
    assert fired == ["forward", "backward"]


def test_replaced_added_and_removed_layers_run():
    network, spikes = make(spec=["64", "fc70", "fc70", "fc10"]), trains()
    before = network(spikes).spikes_TBN
    other = make(spec=["64", "fc70", "fc7"])
    network.layers[2] = other.layers[1]
    assert network(spikes).spikes_TBN.shape[2] == 7
    del network.layers[1]
    assert len(network.spiking) == len(network(spikes).layers) == 2
    assert network.choose_engine(spikes).name == "event_driven"
    network.layers[0], network.layers[1] = network.layers[1], network.layers[0]
    for engine in ENGINES:
        network.engine = engine
        with pytest.raises(ValueError, match=r"behind 64|cannot hear"):
            network(spikes)
    assert before.shape[2] == CLASSES


def test_an_unknown_engine_is_refused():
    for name in ("Numba", "cuda", "gpu", ""):
        with pytest.raises(ValueError, match=f"engine='{name}' is unknown; choose auto"):
            make(engine=name)
    network = make()
    with pytest.raises(ValueError, match="is unknown"):
        network.engine = "Numba"


def test_a_network_can_be_copied_pickled_and_saved():
    network, spikes = make(), trains()
    expected = network(spikes).spikes_TBN
    assert 0 < expected.sum() < expected.numel()
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    loaded = make(engine="layerwise")
    loaded.load_state_dict(torch.load(file))
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), loaded):
        assert torch.equal(other(spikes).spikes_TBN, expected)
        assert other.spiking[0] is other.layers[0]
    clone = copy.deepcopy(network)
    with torch.no_grad():
        clone.spiking[0].weight.zero_()
    assert not clone(spikes).layers[0].counts_BN.any()
    assert torch.equal(network(spikes).spikes_TBN, expected)


def test_states_can_be_recorded():
    network, spikes = make(), trains()
    hidden, output = network.record(spikes)
    assert torch.equal(output.spikes_TBN, network(spikes).spikes_TBN)
    (alone,) = network.record(SpikeEvents.from_dense(spikes[:, :1]), layers=[2])
    torch.testing.assert_close(alone.potential_TBN, output.potential_TBN[:, :1])
    assert torch.equal(hidden.spikes_TBN != 0, hidden.potential_TBN >= network.neuron.threshold)
    assert hidden.current_TBN.shape == (STEPS, SAMPLES, 70)
    with pytest.raises(ValueError, match="spiking layers 1 to 2"):
        network.record(spikes, layers=[3])


@pytest.mark.parametrize("reset", ["both", "potential", "subtract"])
@pytest.mark.parametrize(
    "rule",
    [
        antlr(),
        timing(),
        activation(Rectangular()),
        activation(Exponential(0.3, 1.0), "rnn"),
        activation(variant="slayer"),
    ],
    ids=["antlr", "timing", "rectangular", "rnn", "slayer"],
)
def test_engines_agree_for_every_reset(reset, rule):
    network, spikes = make(rule, spec=["64", "fc70", "fc63", "fc10"], reset=reset), trains()
    found = {}
    for engine in ENGINES:
        network.engine = engine
        network.zero_grad()
        output = network(spikes)
        generator = torch.Generator().manual_seed(2)
        sum((c * torch.randn(c.shape, generator=generator)).sum() for c in output[:2]).backward()
        found[engine] = output.spikes_TBN.detach(), [p.grad for p in network.parameters()]
    spikes, exact = found["layerwise"]
    assert 0 < spikes.sum() < spikes.numel()
    assert torch.equal(found["event_driven"][0], spikes)
    for ours, other in zip(found["event_driven"][1], exact, strict=True):
        assert other.norm() > 0
        assert (ours - other).norm() <= 1e-5 * other.norm()
