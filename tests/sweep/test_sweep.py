"""Sweeps: the grid, running it with a stand-in for train.py, going on after a kill, the choice by validation."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from app.errors import UserError, run_command
from app.sweep import __main__ as sweep
from app.sweep import forks, run
from app.sweep.outcome import outcomes
from app.sweep.plan import read_plan, split_values
from tests.support import ROOT

STAND_IN = f"""
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from app.config import load_config, to_yaml
config = load_config([a for a in sys.argv[1:] if a != "ckpt=last"])
out = Path(config.out)
out.mkdir(parents=True, exist_ok=True)
with (out / "calls").open("a") as file:
    file.write(("again" if "ckpt=last" in sys.argv else "anew") + os.environ["OMP_NUM_THREADS"] + "\\n")
(out / "config.yaml").write_text(to_yaml(config))
time.sleep(float(os.environ.get("STAND_IN_S", 0)))
lr, seed = config.optim.lr, config.seed
if lr > 0.5 and seed == 1:
    sys.exit("error: the loss is not finite")
value = 0.9 - abs(lr - 0.01) + seed / 100
rows = ["step,epoch,val/accuracy_first", "9,0,0.3", f"19,1,{{value}}", "29,2,0.2"]
(out / "metrics.csv").write_text("\\n".join(rows))
(out / "summary.json").write_text(json.dumps({{"test/accuracy_first": value - 0.1, "test/decision_spikes": 40.0}}))
"""
GRID = ["optim.lr=1e-2,1e-3", "tracking.mode=disabled"]


@pytest.fixture(autouse=True)
def _no_wandb_in_the_environment(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _stand_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(run, "TRAIN", script)
    monkeypatch.setattr(forks, "READY", "app.config")  # all that the stand-in needs


def results(folder="s"):
    return json.loads(Path(folder, "results.json").read_text())


def calls(name):
    return Path("s", name, "calls").read_text().split()


def exit_of(argv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweep", *argv])
    with pytest.raises(SystemExit) as leaving:
        run_command(sweep.main)
    return leaving.value.code, *capsys.readouterr()


def test_values_are_split_at_commas_but_not_within_lists_and_quotes():
    assert split_values("1e-3,1e-4") == ("1e-3", "1e-4")
    assert split_values("[64,fc10], [64,fc5,fc10]") == ("[64,fc10]", "[64,fc5,fc10]")
    assert split_values("'a, b',c") == ("a, b", "c")
    assert split_values("it's,fine") == ("it's", "fine")


def test_the_grid_and_its_folders():
    found = read_plan(
        ["rule=antlr,activation", "network=[64,fc10],[64,fc5,fc10]", "optim.lr=0.1", "trials=3", "seed=4"]
    )
    trials = found.trials()
    assert len(trials) == 12
    assert found.seeds == (4, 5, 6)
    assert str(trials[0].out) == "runs/sweeps/digits-rule-network/rule=antlr_network=64-fc10-s4"
    assert len({trial.out for trial in trials}) == 12
    assert {trial.config.optim.lr for trial in trials} == {0.1}
    assert trials[0].config.tracking.group == "digits-rule-network"


def test_folds_are_trials_of_an_option_and_never_chosen_among():
    trials = read_plan(["config=nmnist_antlr", "data.folds=3", "data.fold=0,1,2", "optim.lr=1,2", "trials=2"]).trials()
    found = outcomes(trials)
    assert [one.option for one in found] == [(("optim.lr", "1"),), (("optim.lr", "2"),)]
    for one in found:
        assert sorted((trial.config.data.fold, trial.seed) for trial in one.trials) == [
            (fold, seed) for fold in range(3) for seed in range(2)
        ]
    assert len({trial.out for trial in trials}) == 12
    assert (trials[3].label, trials[3].out.name) == ("optim.lr=2, data.fold=1, seed 0", "lr=2-fold=1-s0")


def test_options_with_alike_names_get_folders_of_their_own():
    trials = read_plan(["tracking.notes=a?,a!", "out=s"]).trials()
    assert len({trial.out for trial in trials}) == 2


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["optim.lr=1e-3,fast"], "optim.lr"),
        (["optim.lrr=1,2"], "optim.lr"),
        (["optim.lr=1,"], "optim.lr=1,"),
        (["optim.lr=1,1"], "twice"),
        (["optim.lr=1", "optim.lr=2"], "optim.lr"),
        (["rule=timing,antlr", "loss=count"], "no timing gradient"),
        (["trials=0"], "trials"),
        (["trials=2,3"], "trials"),
        (["seed=1,2", "trials=3"], "trials"),
        (["seed=x"], "seed"),
        (["ckpt=last"], "ckpt"),
        (["jobs=9999"], "cores"),
        (["config=nonsense"], "nonsense"),
        (["task"], "task"),
        (["optim.lr=1e-4..1e-2"], "is a range: add search=tpe"),
        (["out=/proc/nope"], "/proc/nope"),
        (["wandb_sweep=a,b"], "wandb_sweep"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(argv, named, monkeypatch, capsys):
    code, _, message = exit_of(argv, monkeypatch, capsys)
    assert code == 2
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert named in message
    assert not Path("runs/sweeps").exists()


def test_a_sweep_chooses_by_validation_and_shows_the_test_of_the_choice_alone(monkeypatch, capsys):
    code, printed, _ = exit_of([*GRID, "trials=2", "jobs=1", "out=s"], monkeypatch, capsys)
    assert code == 0
    assert "s: 2 options x 2 trials = 4 runs, 1 at a time" in printed
    assert "[1/4] optim.lr=1e-2, seed 0: validation accuracy by first spike 90.00 %" in printed
    assert "left" in printed
    assert "optim.lr=1e-2  accuracy by first spike 90.50 ± 0.71 % [84.15, 96.85]  <- chosen" in printed
    assert "optim.lr=1e-3  accuracy by first spike 89.60 ± 0.71 % [83.25, 95.95]\n" in printed
    assert "accuracy by first spike             80.50 ± 0.71 % [74.15, 86.85]" in printed
    best, other = results()
    assert (best["chosen"], best["option"], best["mean"]) == (True, {"optim.lr": "1e-2"}, pytest.approx(0.905))
    assert best["test"]["test/accuracy_first mean"] == pytest.approx(0.805)
    assert (other["chosen"], other["test"]) == (False, {})
    with Path("s/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["test/decision_spikes mean"] == "40.0"
    assert rows[1]["test/decision_spikes mean"] == ""
    assert Path("s/command.txt").read_text() == (
        "python -m app.sweep optim.lr=1e-2,1e-3 tracking.mode=disabled trials=2 jobs=1 out=s\n"
    )
    assert calls("lr=1e-2-s0") == [f"anew{os.environ.get('OMP_NUM_THREADS', run.cores())}"]


def test_finished_runs_are_never_repeated_and_trials_can_be_added(monkeypatch, capsys):
    exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    before = Path("s/lr=1e-2-s0/summary.json").stat().st_mtime_ns
    code, printed, _ = exit_of([*GRID, "out=s", "jobs=1", "trials=2"], monkeypatch, capsys)
    assert code == 0
    assert "2 are finished already, 0 go on" in printed
    assert Path("s/lr=1e-2-s0/summary.json").stat().st_mtime_ns == before
    assert len(calls("lr=1e-2-s0")) == 1
    assert [row["finished"] for row in results()] == [2, 2]


def test_an_interrupted_run_goes_on(monkeypatch, capsys):
    exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    Path("s/lr=1e-3-s0/summary.json").unlink()
    code, printed, _ = exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    assert code == 0
    assert "1 are finished already, 1 go on" in printed
    assert [call.rstrip("0123456789") for call in calls("lr=1e-3-s0")] == ["anew", "again"]


def test_another_sweep_in_the_same_folder_is_refused(monkeypatch, capsys):
    exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    code, _, message = exit_of([*GRID, "out=s", "jobs=1", "trainer.max_epochs=7"], monkeypatch, capsys)
    assert code == 2
    assert re.search(r"trainer\.max_epochs=\d+ there, 7 here", message)


def test_failures_are_counted_and_their_option_is_not_chosen(monkeypatch, capsys):
    code, printed, _ = exit_of(["optim.lr=0.9,1e-3", "trials=2", "jobs=1", "out=s"], monkeypatch, capsys)
    assert code == 1
    assert "optim.lr=0.9, seed 1: failed with exit code 1, see s/logs/lr=0.9-s1.log" in printed
    assert "1 of 4 runs failed" in printed
    assert "(1 unfinished: cannot be chosen)" in printed
    assert "the loss is not finite" in Path("s/logs/lr=0.9-s1.log").read_text()
    assert [row["chosen"] for row in results()] == [False, True]


def test_equally_good_options_are_a_tie(monkeypatch, capsys):
    _, printed, _ = exit_of(["optim.lr=0.015,0.005", "trials=2", "jobs=1", "out=s"], monkeypatch, capsys)
    assert "a tie of optim.lr=0.015; optim.lr=0.005. The first one is taken" in printed
    assert "optim.lr=0.015 is the first of the best by validation" in printed
    assert [(row["chosen"], row["tie"]) for row in results()] == [(True, True), (False, False)]
    assert "tie" not in exit_of([*GRID, "trials=2", "jobs=1", "out=t"], monkeypatch, capsys)[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", ""),
        ("summary.json", None),
        ("metrics.csv", "damaged"),
        ("metrics.csv", None),
        ("config.yaml", ""),
    ],
)
def test_a_damaged_trial_is_named_set_aside_and_run_again(name, content, monkeypatch, capsys):
    exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    before, damaged = results(), Path("s/lr=1e-2-s0", name)
    if content is not None:
        damaged.write_text(content)
    elif name == "metrics.csv":
        damaged.unlink()
    else:
        damaged.unlink()
        damaged.symlink_to("nowhere")
    code, printed, _ = exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    assert code == 0
    assert "1 are damaged and are run again" in printed
    assert f"optim.lr=1e-2, seed 0: damaged ({name}" in printed
    assert "moved to s/damaged/lr=1e-2-s0" in printed
    assert results() == before
    assert [call.rstrip("0123456789") for call in calls("lr=1e-2-s0")] == ["anew"]
    assert Path("s/damaged/lr=1e-2-s0/calls").exists()


def test_cells_that_a_spreadsheet_would_run_are_neutralised(monkeypatch, capsys):
    exit_of(["tracking.notes==1+1,@x", "trainer.max_epochs=1", "jobs=1", "out=s"], monkeypatch, capsys)
    with Path("s/results.csv").open() as file:
        assert [row["tracking.notes"] for row in csv.DictReader(file)] == ["'=1+1", "'@x"]


def test_dry_run_lists_commands_and_runs_none(monkeypatch, capsys):
    code, printed, _ = exit_of([*GRID, "out=s", "trials=2", "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert len(printed.splitlines()) == 4
    assert shlex.split(printed.splitlines()[0])[-1] == "out=s/lr=1e-2-s0"
    assert not Path("s").exists()


def test_the_wandb_sweep_file_is_the_same_grid(monkeypatch, capsys):
    argv = [
        "config=mnist_antlr",
        "optim.lr=1e-3,1e-4",
        "network=[784,fc10],[784,fc5,fc10]",
        "trials=3",
        "out=runs/sweeps/x",
    ]
    code, printed, _ = exit_of([*argv, "wandb_sweep=sweep.yaml"], monkeypatch, capsys)
    assert code == 0
    assert "12 runs" in printed
    spec = yaml.safe_load(Path("sweep.yaml").read_text())
    assert spec["parameters"]["optim.lr"] == {"values": [0.001, 0.0001]}
    assert spec["parameters"]["network"]["values"][1] == "[784,fc5,fc10]"
    assert spec["parameters"]["seed"] == {"values": [0, 1, 2]}
    assert spec["parameters"]["config"] == {"value": "mnist_antlr"}
    assert spec["metric"] == {"name": "best/val/accuracy_first", "goal": "maximize"}
    assert spec["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]


def start(*argv):
    """A sweep in a process of its own, with slow runs."""
    code = (
        f"import sys; from pathlib import Path; sys.argv = ['sweep', *{list(argv)!r}]\n"
        f"from app.errors import run_command; from app.sweep import forks, run, __main__\n"
        f"run.TRAIN, forks.READY = Path({str(run.TRAIN)!r}), {forks.READY!r}; run_command(__main__.main)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "STAND_IN_S": "3"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: Path("s/lr=1e-2-s0/config.yaml").exists())
    return process


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_but_never_beside_its_own_runs(monkeypatch, capsys):
    process = start(*GRID, "out=s", "jobs=1")
    process.kill()
    process.wait()
    code, _, message = exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)
    assert (code, "still at work" in message) == (2, True)
    wait_for(lambda: Path("s/lr=1e-2-s0/summary.json").exists())
    wait_for(lambda: exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)[0] == 0)
    assert len(calls("lr=1e-2-s0")) == len(calls("lr=1e-3-s0")) == 1


@pytest.mark.slow
def test_a_stopped_sweep_stops_its_runs(monkeypatch, capsys):
    process = start(*GRID, "out=s", "jobs=1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert "the same command goes on" in process.stderr.read()
    assert not Path("s/lr=1e-2-s0/summary.json").exists()
    assert not Path("s/lr=1e-3-s0").exists()
    assert exit_of([*GRID, "out=s", "jobs=1"], monkeypatch, capsys)[0] == 0
    assert calls("lr=1e-2-s0")[1].startswith("again")


def test_two_sweeps_at_once_in_one_folder_are_refused():
    with run.sole(Path("s")), pytest.raises(UserError, match="still at work"), run.sole(Path("s")):
        pass
