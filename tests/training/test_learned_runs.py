"""Runs that learn decays and thresholds: what they write down, go on from, hand on."""

import json
from pathlib import Path

import pytest

import app
from app.training.trained import load_trained
from tests.support.run_tools import rows, run

LEARN = ["neuron.learn=[alpha_v,alpha_i,threshold]", "neuron.learn_per=neuron", "neuron.learn_lr_factor=50"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_learns_writes_down_and_hands_on_constants(capsys):
    run("out=whole", *LEARN)
    said = capsys.readouterr()
    assert "engine=auto falls back to layerwise" in said.err + said.out
    assert "learns alpha_v and alpha_i and threshold" in said.err + said.out
    assert "layer 1 has learned" in said.out
    summary = json.loads(Path("whole/summary.json").read_text())
    network = load_trained("whole").module.network
    for name, value in network.learned_values().items():
        assert summary[name] == pytest.approx(float(value))
    start = {"alpha_v": network.neuron.alpha_v, "threshold": 1.0}
    for name, value in start.items():
        low, high = (summary[f"learned/layer1/{name}_{end}"] for end in ("min", "max"))
        assert low < high
        assert low < value < high or abs(low - value) > 1e-3
    logged = [row for row in rows("whole") if row["learned/layer2/threshold"]]
    assert [int(row["epoch"]) for row in logged] == [0, 1]
    assert logged[0]["learned/layer2/threshold"] != logged[1]["learned/layer2/threshold"]
    model = app.load("whole")
    assert model.network.learned_values().keys() == network.learned_values().keys()
