"""Random and Bayesian search, with a stand-in for train.py: the same again, after a stop too; pruning; bad input."""

import json
import sys
from pathlib import Path

import pytest

from app.errors import UserError
from app.sweep import __main__ as sweep
from app.sweep import forks, run
from app.sweep.search import read_search

optuna = pytest.importorskip("optuna", reason="the package optuna is not installed")
STAND_IN = """
import json, math, sys
from pathlib import Path
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
out = Path(given["out"])
out.mkdir(parents=True, exist_ok=True)
with (out / "calls").open("a") as file:
    file.write("call\\n")
(out / "config.yaml").write_text(f"task: digits\\nrule: antlr\\nseed: {given['seed']}\\n")
if given.get("data.batch_size") == "13":
    sys.exit("error: unlucky")
worth = 0.9 - 0.1 * abs(math.log10(float(given.get("optim.lr", 1))) + 3)
rows = ["step,epoch,val/accuracy_first"] + [f"{9 + 10 * k},{k},{worth * (k + 1) / 5}" for k in range(5)]
(out / "metrics.csv").write_text("\\n".join(rows))
(out / "summary.json").write_text(json.dumps({"test/accuracy_first": worth - 0.1}))
"""
LR = "optim.lr=1e-5..1e-1:log"


@pytest.fixture(autouse=True)
def _stand_in(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(run, "TRAIN", script)
    monkeypatch.setattr(forks, "READY", "json")  # all that the stand-in needs


def searched(folder, *argv, jobs=1):
    assert sweep.main([*argv, f"out={folder}", "tracking.mode=disabled", f"jobs={jobs}"]) == 0
    return json.loads(Path(folder, "results.json").read_text())


def tried(results):
    return [tuple(row["option"].items()) for row in results]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_is_the_same_again_and_after_a_stop(sampler, capsys):
    whole = searched("whole", f"search={sampler}", "trials=7", LR, "data.batch_size=8,16", "pruner=none")
    assert len(set(tried(whole))) == 7
    assert sum(row["chosen"] for row in whole) == 1
    best = next(row for row in whole if row["chosen"])
    assert best["mean"] == max(row["mean"] for row in whole)
    assert best["test"]
    assert not any(row["test"] for row in whole if row is not best)
    searched("parts", f"search={sampler}", "trials=3", LR, "data.batch_size=8,16", "pruner=none")
    parts = searched("parts", f"search={sampler}", "trials=7", LR, "data.batch_size=8,16", "pruner=none")
    assert tried(parts) == tried(whole)
    assert [path.read_text() for path in sorted(Path("parts").glob("*/calls"))] == ["call\n"] * 7
    printed = capsys.readouterr().out
    assert "3 have ended already" in printed
    assert ("7 trials by tpe (the first 5 at random), seeds of each: 1, " in printed) == (sampler == "tpe")
    assert "Best epoch on validation data, one trial each\n" in printed
    rows = printed.split("Best epoch on validation data")[-1].split("\n\n")[0].splitlines()[1:]
    shares = [float(row.split("first spike ")[1].split(" %")[0]) for row in rows]
    assert len(rows) == 7
    assert shares == sorted(shares, reverse=True)
    assert all(1e-5 <= float(row["option"]["optim.lr"]) <= 1e-1 for row in whole)


def test_what_is_worse_than_half_of_the_others_is_pruned_and_cannot_be_chosen(capsys):
    results = searched("s", "search=random", "trials=12", LR)
    printed = capsys.readouterr().out
    pruned = printed.count(": pruned after 2 epochs")
    assert 0 < pruned <= 7  # the first five are all seen to their end
    study = optuna.load_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("s/search.journal")),
    )
    assert sum(trial.state.name == "PRUNED" for trial in study.trials) == pruned
    assert {trial.state.name for trial in study.trials[:5]} == {"COMPLETE"}
    chosen = next(row for row in results if row["chosen"])
    assert chosen["option"] == dict(study.best_trial.user_attrs["option"])


def test_each_trial_has_its_seeds_and_whole_numbers_stay_whole():
    results = searched("s", "search=random", "trials=2", "data.batch_size=14..99", "seed=4,5", jobs=1)
    assert [row["finished"] for row in results] == [2, 2]
    assert all(row["option"]["data.batch_size"].isdecimal() for row in results)
    assert sorted(path.parent.name for path in Path("s").glob("*/calls")) == [
        "t000-s4",
        "t000-s5",
        "t001-s4",
        "t001-s5",
    ]


def test_a_failed_run_is_said_and_does_not_end_the_search(capsys):
    arguments = ["search=random", "trials=4", "data.batch_size=13,16", "out=s", "jobs=1", "tracking.mode=disabled"]
    assert sweep.main(arguments) == 1
    assert "failed, see s/logs/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["search=grid", LR], "search=grid"),
        (["search=tpe", LR, "pruner=x"], "pruner=x"),
        (["search=tpe", LR, "trials=0"], "trials=0"),
        (["search=tpe"], "nothing to search"),
        (["search=tpe", "optim.lr=1..0"], "optim.lr=1..0 is no range"),
        (["search=tpe", "optim.lr=0..1:log"], "LOW must be above 0"),
        (["search=tpe", "optim.lr=-1..1"], "optim.lr=-1.0 is out of range"),
        (["search=tpe", "optim.lrr=1..2"], "optim.lr"),
        (["search=tpe", LR, "launcher=slurm"], "launcher has no meaning"),
        (["search=tpe", LR, "wandb_sweep=f"], "wandb_sweep has no meaning"),
    ],
)
def test_bad_input_is_one_sentence(argv, named):
    with pytest.raises(UserError, match=named):
        read_search(argv)


def test_a_folder_keeps_its_search_and_optuna_is_asked_for(monkeypatch):
    searched("s", "search=random", "trials=1", LR)
    with pytest.raises(UserError, match="out=s holds a search of other ranges"):
        searched("s", "search=random", "trials=1", "optim.lr=1e-3..1e-1:log")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="pip install optuna"):
        searched("t", "search=random", "trials=1", LR)
    assert not Path("t").exists()
