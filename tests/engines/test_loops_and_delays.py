"""Delays stand in the way of the event-driven engine, which says so; auto takes the plain one. Loops do not."""

import pytest

from app.layers.delays import Delays
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import antlr

NEURON = Neuron.auto(0.95, 0.9, 30)
CASES = [
    *((["6", "fc7", "fc3"], Delays(kind, 5), f"has {kind} delays") for kind in ("axonal", "dendritic", "synaptic")),
    (["6", "rfc7", "fc3"], Delays("axonal", 5), "has axonal delays"),
]


@pytest.mark.parametrize(("spec", "delays", "reason"), CASES)
def test_auto_takes_the_plain_engine_and_says_why(spec, delays, reason):
    choice = Network(spec, NEURON, antlr(), delays=delays).choose_engine()
    assert choice.name == "layerwise"
    assert reason in choice.passed_over["event_driven"]


@pytest.mark.parametrize(("spec", "delays", "reason"), CASES)
def test_an_engine_that_was_asked_for_refuses(spec, delays, reason):
    with pytest.raises(ValueError, match=f"engine=event_driven cannot run this network: .*{reason}"):
        Network(spec, NEURON, antlr(), engine="event_driven", delays=delays)


def test_a_loop_runs_compiled_on_the_processor_alone(monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed; see requirements-dev.txt")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    choice = Network(["6", "rfc7", "fc3"], NEURON, antlr()).choose_engine()
    assert choice.name == "event_driven"
    assert "hears its own spikes" in choice.passed_over["triton"]
