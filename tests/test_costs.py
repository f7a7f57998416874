"""The command that tells what answers cost, on a small run."""

import json

import pytest

from app import costs
from app.errors import UserError
from tests.support.run_tools import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("costs") / "run"
    run(f"out={out}", "init_bias_center=1", "trainer.max_epochs=1", "trainer.limit_test_batches=1")
    return out


def test_a_run_stores_what_its_answers_cost_and_the_command_repeats_it(trained, capsys):
    summary = json.loads((trained / "summary.json").read_text())
    assert costs.main([f"ckpt={trained}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for part, prefix in (("whole_window", ""), ("until_decision", "decision_")):
        for name in ("synaptic_operations", "input_synaptic_operations", "macs", "energy_nj", "activation_sparsity"):
            assert found[part][name] == summary[f"test/{prefix}{name}"]
        assert sum(found[part]["layers"]) == pytest.approx(found[part]["synaptic_operations"])
        assert found[part]["energy_nj"] == pytest.approx(0.0009 * found[part]["synaptic_operations"])
    assert found["until_decision"]["synaptic_operations"] < found["whole_window"]["synaptic_operations"]
    assert found["until_decision"]["steps"] < found["whole_window"]["steps"] == 30
    assert found["network"]["footprint_bytes"] == summary["footprint_bytes"] == 4 * (64 * 20 + 20 + 20 * 10 + 10)
    assert summary["connection_sparsity"] == 0


def test_the_energy_of_an_operation_is_a_setting(trained, capsys):
    costs.main([f"ckpt={trained}", "--json", "ac_pj=2", "mac_pj=7"])
    found = json.loads(capsys.readouterr().out)
    assert found["assumptions"]["ac_pj"] == 2
    whole = found["whole_window"]
    assert whole["energy_nj"] == pytest.approx(0.002 * whole["synaptic_operations"])
    costs.main([f"ckpt={trained}"])
    printed = capsys.readouterr().out
    assert "synaptic operations" in printed
    assert "0.9 pJ for an AC" in printed


@pytest.mark.parametrize(
    ("argv", "named"), [(["ac_pj=-1"], "ac_pj=-1"), (["mac_pj=x"], "mac_pj=x"), ([], "ckpt="), (["ckpt=nope"], "nope")]
)
def test_bad_input_is_one_sentence(argv, named):
    with pytest.raises(UserError, match=named):
        costs.main(argv)
