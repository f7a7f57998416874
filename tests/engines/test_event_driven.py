"""The event-driven engine against its plain twin: spikes exactly, then all gradients, with random cotangents."""

import os

import numpy as np
import pytest
import torch

from app.events import SpikeEvents
from app.kernels import reference
from app.readout import decision_steps, first_spike_steps, predict_by_first
from app.rules import timing
from tests.support.networks import RULES, assert_close, compare, make, poison_memory, run, trains

SHAPES = [
    (1, 1, ["5", "fc1"]),
    (1, 3, ["63", "fc257"]),
    (50, 1, ["5", "fc1", "fc63"]),
    (61, 3, ["784", "fc800", "fc10"]),
    (50, 4, ["63", "fc257", "fc63", "fc5", "fc64", "fc10"]),
]
NEAR = 1e-5
"""An event list sums the drive in another order than a matrix product; a spike so close to the threshold may differ."""


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("max_spikes", [None, 1, 3])
def test_every_rule_and_limit(name, max_spikes):
    network = make(["63", "fc257", "fc63", "fc10"], 40, RULES[name], max_spikes=max_spikes)
    output = compare(network, trains(40, 3, 63))
    for layer in output.layers:
        assert 0 < layer.spikes.sum() < layer.spikes.numel()


@pytest.mark.parametrize(("steps", "batch", "spec"), SHAPES, ids=str)
@pytest.mark.parametrize("rule", ["antlr", "rnn"])
def test_every_shape(steps, batch, spec, rule):
    compare(make(spec, steps, RULES[rule]), trains(steps, batch, int(spec[0]), 0.3))


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.9, 0.0), (0.9, 0.9), (1.0, 0.9), (1.0, 1.0), (0.0, 0.0)], ids=str)
def test_every_neuron(alphas):
    output = compare(make(["63", "fc70", "fc10"], 30, alphas=alphas), trains(30, 3, 63))
    assert 0 < output.layers[0].spikes.sum() < output.layers[0].spikes.numel()


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_silence_and_a_spike_every_step(rate):
    network = make(["20", "fc70", "fc10"], 30, alphas=(0.0, 0.0) if rate else (0.9, 0.9))
    if rate:
        with torch.no_grad():
            for layer in network.spiking:
                layer.weight.abs_()
    output = compare(network, trains(30, 2, 20, rate))
    assert output.spikes_TBN.mean() == rate


def test_random_weights_differ_at_most_next_to_the_threshold():
    """Long windows and many inputs: V agrees to 1e-5, so a spike can only differ where V is that close to θ."""
    network = make(["784", "fc257", "fc10"], 300)
    spikes = trains(300, 4, 784, 0.02)
    network.engine = "numba"
    fired_TBN = network(spikes).layers[0].dense_spikes()
    layer = network.spiking[0]
    plain = reference.forward(spikes @ layer.weight.detach().t(), layer.bias.detach(), network.neuron)
    first_TBN = (fired_TBN != plain.spikes_TBN).cumsum(0).cumsum(0) == 1
    assert ((plain.potential_TBN[first_TBN] - network.neuron.threshold).abs() < NEAR).all()
    assert 0 < fired_TBN.sum() < fired_TBN.numel()


@pytest.mark.parametrize("name", ["antlr", "activation", "rnn", "timing"])
def test_the_cost_of_decision_spikes(name):
    """Differentiated alone and beside an error of the outputs, also in the last layer; not by the timing rule."""
    network, spikes = make(["63", "fc257", "fc63", "fc10"], 40, RULES[name]), trains(40, 3, 63)
    price_L = torch.tensor([0.3, 0.0, 2.0])
    for weight in (0.0, 1.0):
        results = []
        for engine in ("reference", "numba"):
            network.engine = engine
            network.zero_grad()
            output = network(spikes)
            ((output.decision_BL * price_L).sum() + weight * output.times_TBN[:20].square().sum()).backward()
            results.append((output, {n: p.grad.clone() for n, p in network.named_parameters()}))
        (plain, expected), (fast, gradients) = results
        steps_B = decision_steps(plain.spikes_TBN)
        counted_BL = torch.stack([activity.count_until(steps_B) for activity in plain.layers], 1)
        assert torch.equal(plain.decision_BL, counted_BL.float())
        assert torch.equal(fast.decision_BL, counted_BL.float())
        assert_close(gradients, expected)
        assert (expected["layers.0.weight"].norm() > 0) == (name != "timing" or weight > 0)


def test_only_one_channel_or_none_has_an_error():
    network = make(["20", "fc70", "fc10"], 30)
    for channels in ((0,), (1,)):
        expected = {}
        for engine in ("reference", "numba"):
            network.engine = engine
            network.zero_grad()
            output = network(trains(30, 2, 20))
            sum(output[c].square().sum() for c in channels).backward()
            gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
            expected = expected or gradients
        assert_close(gradients, expected)


def test_errors_that_end_early_and_non_contiguous_input():
    network = make(["20", "fc70", "fc10"], 30)
    spikes = trains(2, 30, 20).transpose(0, 1)
    results = []
    for engine in ("reference", "numba"):
        network.engine = engine
        network.zero_grad()
        output = network(spikes)
        (output.spikes_TBN[:9, 0].sum() + output.times_TBN[:5].sum()).backward()
        results.append({name: p.grad.clone() for name, p in network.named_parameters()})
    assert_close(results[1], results[0])


def test_poisoned_memory_is_never_read(monkeypatch):
    network, spikes = make(["63", "fc70", "fc33", "fc10"], 30, max_spikes=2), trains(30, 3, 63)
    _, expected = run(network, "numba", spikes)
    poison_memory(monkeypatch)
    _, gradients = run(network, "numba", spikes)
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.9])
def test_the_same_bits_for_any_number_of_threads_and_every_run(rate):
    network, events = make(["63", "fc257", "fc70", "fc10"], 50), SpikeEvents.from_dense(trains(50, 5, 63, rate))
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3, 2):
            torch.set_num_threads(number)
            results.append(run(network, "numba", events))
    finally:
        torch.set_num_threads(threads)
    first_output, first = results[0]
    for output, gradients in results[1:]:
        assert torch.equal(output.spikes_TBN, first_output.spikes_TBN)
        assert all(torch.equal(gradients[name], first[name]) for name in first)


@pytest.mark.parametrize("engine", ["reference", "numba"])
@pytest.mark.parametrize("max_spikes", [None, 1])
def test_stopping_at_the_first_output_spike_keeps_the_decision(engine, max_spikes):
    network, spikes = make(["63", "fc257", "fc63", "fc10"], 70, engine=engine, max_spikes=max_spikes), trains(70, 6, 63)
    spikes[:, 5] = 0
    whole, cut = network(spikes), network(spikes, stop_at_first_output=True)
    decision_B = decision_steps(whole.spikes_TBN)
    assert len(decision_B.unique()) > 2
    assert torch.equal(decision_steps(cut.spikes_TBN), decision_B)
    predictions = [predict_by_first(first_spike_steps(o.spikes_TBN)) for o in (whole, cut)]
    assert torch.equal(*predictions)
    for one, other in zip(whole.layers, cut.layers, strict=True):
        assert torch.equal(one.count_until(decision_B), other.count_until(decision_B))
        assert torch.equal(other.totals_TB.sum(0), other.count_until(decision_B))
        assert torch.equal(other.counts_BN, other.dense_spikes().sum(0).int())
    assert not cut.spikes_TBN.requires_grad


def test_accumulation_retain_grad_and_a_second_backward():
    network, spikes = make(["20", "fc70", "fc10"], 30, engine="numba"), trains(30, 2, 20)
    output = network(spikes)
    output.spikes_TBN.retain_grad()
    output.times_TBN.retain_grad()
    loss = (output.spikes_TBN * output.times_TBN).sum()
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in network.named_parameters()}
    assert torch.equal(output.spikes_TBN.grad, output.times_TBN.detach())
    assert torch.equal(output.times_TBN.grad, output.spikes_TBN.detach())
    loss.backward()
    assert all(torch.equal(p.grad, 2 * once[name]) for name, p in network.named_parameters())


def test_weights_changed_before_backward_are_noticed():
    network = make(["20", "fc70", "fc10"], 30, engine="numba")
    loss = network(trains(30, 2, 20)).spikes_TBN.sum()
    with torch.no_grad():
        network.spiking[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_auto_falls_back_and_numba_refuses():
    spikes = trains(5, 2, 20)
    double = make(["20", "fc10"], 5).double()
    graded = make(["20", "fc10"], 5)
    strange = make(["20", "fc10"], 5)
    strange.layers.insert(0, torch.nn.Identity())
    for network, given, reason in (
        (double, spikes.double(), "float64"),
        (graded, spikes * 0.5, "other values than 0 and 1"),
        (graded, spikes.clone().requires_grad_(), "requires a gradient"),
        (strange, spikes, "Identity"),
    ):
        network.engine = "auto"
        assert isinstance(network(given).layers[0].spikes, torch.Tensor)
        network.engine = "numba"
        with pytest.raises(ValueError, match=f"engine=numba.*{reason}.*engine=layerwise"):
            network(given)


def test_states_that_decay_to_nothing_are_taken_for_zero_in_kernels_alone():
    """Numbers below 1.2e-38 are no spikes' business; whoever wants them keeps them."""
    tiny = np.float32(1e-40)
    network = make(["63", "fc70", "fc10"], 300, alphas=(0.3, 0.3))
    compare(network, trains(300, 2, 63, 0.004))
    assert tiny * np.float32(1) == tiny
    try:
        torch.set_flush_denormal(True)
        run(network, "numba", trains(300, 2, 63, 0.004))
        assert tiny * np.float32(1) == 0
    finally:
        torch.set_flush_denormal(False)


def test_events_out_of_order_are_refused():
    network = make(["20", "fc10"], 5, engine="numba")
    steps, neurons = torch.tensor([3, 1], dtype=torch.int32), torch.tensor([0, 0], dtype=torch.int32)
    offsets = torch.tensor([0, 2])
    with pytest.raises(ValueError, match="sorted by step"):
        network(SpikeEvents(steps, neurons, offsets, 5, (20,)))
    with pytest.raises(ValueError, match="neurons_E must hold numbers from 0 to 19"):
        network(SpikeEvents(steps.flip(0), neurons + 20, offsets, 5, (20,)))


def test_flatten_before_the_first_layer():
    network = make(["2x3x4", "flatten", "fc10"], 20)
    compare(network, trains(20, 2, 24).unflatten(2, (2, 3, 4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_computes_the_same(monkeypatch):
    """With threads of its own; PyTorch's own OpenMP threads would not survive the fork, hence one thread for them."""
    network, spikes = make(["20", "fc70", "fc10"], 30, engine="numba"), trains(30, 2, 20)
    spikes = SpikeEvents.from_dense(spikes)
    _, expected = run(network, "numba", spikes)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        try:
            _, gradients = run(network, "numba", spikes)
            equal = all(torch.equal(gradients[name], expected[name]) for name in expected)
            os.write(write, b"1" if equal else b"0")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.waitpid(child, 0)


@pytest.mark.parametrize("engine", ["reference", "numba"])
def test_a_larger_least_slope_makes_timing_errors_smaller(engine):
    spikes, norms = trains(61, 3, 63), []
    for min_slope in (0.01, 100.0, 200.0):
        network = make(["63", "fc10"], 61, timing(min_slope), engine=engine)
        network(spikes).times_TBN.square().sum().backward()
        norms.append(float(network.spiking[0].weight.grad.norm()))
    assert norms[0] > 10 * norms[1] > 0
    assert norms[1] == pytest.approx(2 * norms[2], rel=1e-5), "every slope is below the clamp"
