"""Layers that hear themselves on the event-driven engine, against their plain twins: spikes exactly, then gradients."""

import numpy as np
import pytest
import torch

from app.events import SpikeEvents
from app.readout import decision_steps
from tests.support.networks import RULES, assert_close, compare, make, run, trains

SPECS = {
    "at the end": ["20", "rfc1"],
    "two blocks of neurons, between others": ["63", "fc20", "rfc70", "fc10"],
    "one behind the other": ["20", "rfc33", "rfc65"],
    "behind images": ["2x6x6", "conv3c3", "apool2", "flatten", "rfc20", "fc5"],
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize(("max_spikes", "reset"), [(None, "both"), (2, "potential"), (3, "subtract")])
def test_networks_limits_and_resets(spec, max_spikes, reset):
    network = make(spec, 40, max_spikes=max_spikes, reset=reset)
    inputs = 72 if "x" in spec[0] else int(spec[0])
    output = compare(network, trains(40, 3, inputs))
    for layer, activity in zip(network.spiking, output.layers, strict=True):
        assert 0 < activity.spikes.sum() < activity.spikes.numel()
        assert layer.recurrent_weight is None or layer.recurrent_weight.grad.norm() > 0


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["rnn", "eventprop"])
def test_rules_that_ask_for_other_states_and_for_later_errors(rule):
    compare(make(["20", "rfc70", "rfc10"], 40, RULES[rule]), trains(40, 3, 20))


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_the_same_bits_for_any_number_of_threads_whatever_was_in_memory(rate, monkeypatch):
    network, events = make(["20", "rfc70", "fc10"], 50), SpikeEvents.from_dense(trains(50, 5, 20, rate))
    before, results, empty = torch.get_num_threads(), [], np.empty

    def poisoned(*args, **kwargs):
        array = empty(*args, **kwargs)
        array.fill({"f": np.nan, "i": -(2**31), "u": 2**63 + 1, "b": True}[array.dtype.kind])
        return array

    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(network, "numba", events))
            monkeypatch.setattr(np, "empty", poisoned)
    finally:
        torch.set_num_threads(before)
    (first_output, first), *others = results
    for output, gradients in others:
        assert torch.equal(output.spikes_TBN, first_output.spikes_TBN)
        assert all(torch.equal(gradients[name], first[name]) for name in first)


def test_the_cost_of_decision_spikes_and_a_stop_at_the_first_output():
    """Stopping runs chunks of 16 steps; a chunk hears the last step of the one before."""
    network, spikes = make(["20", "rfc33", "fc5"], 70), trains(70, 4, 20, 0.01)
    network.spiking[1].weight.data.mul_(0.1)
    price_L, results = torch.tensor([0.3, 2.0]), []
    for engine in ("reference", "numba"):
        network.engine = engine
        network.zero_grad()
        ((network(spikes).decision_BL * price_L).sum()).backward()
        results.append((network(spikes, True), {n: p.grad.clone() for n, p in network.named_parameters()}))
    (plain, expected), (fast, gradients) = results
    first_B = decision_steps(plain.spikes_TBN)
    assert first_B.min() > 32
    assert first_B.max() == 70, "a sample without any output spike"
    for one, other in zip(plain.layers, fast.layers, strict=True):
        assert torch.equal(one.dense_spikes(), other.dense_spikes())
    assert torch.equal(fast.decision_BL, plain.decision_BL)
    assert_close(gradients, expected)


def test_a_second_backward_adds_the_same_again():
    network = make(["20", "rfc33", "rfc65"], 30, engine="numba")
    loss = network(trains(30, 2, 20)).spikes_TBN.sum()
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in network.named_parameters()}
    loss.backward()
    assert all(torch.equal(p.grad, 2 * once[name]) for name, p in network.named_parameters())
