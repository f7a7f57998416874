"""docs/RESULTS.md: experiments and their commands, published figures beside ours, folds, included files."""

import json
import math
from pathlib import Path

import pytest

from app.errors import RunStopped, UserError
from app.report import rebuild, results_page, spike_trains
from app.report.experiments import Experiment, published, read_experiments
from app.report.groups import group
from app.report.intervals import fold_means, t_interval, wilson_interval
from app.report.results import result_of
from tests.support import ROOT
from tests.support.made_runs import made

COMMAND = "python -m app.sweep task=digits trials=2 data.root=/home/me/data out=runs/x"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown(monkeypatch, runs, findings="docs/FINDINGS.md", **about):
    """The page of one experiment whose folder holds some runs."""
    Path("runs/x").mkdir(parents=True, exist_ok=True)
    Path("runs/x/config.yaml").touch()
    monkeypatch.setattr(results_page, "read_results", lambda sources: [result_of(run) for run in runs])
    experiment = Experiment(**{"title": "Digits", "command": COMMAND} | about)
    known = results_page.known_results([experiment], Path("none"))
    return results_page.results_text([experiment], known, Path(findings), Path("docs/RESULTS.md"))


def listed(text):
    Path("e.yaml").write_text(text)
    return read_experiments(Path("e.yaml"))


def test_a_section_holds_command_seeds_code_and_numbers(monkeypatch):
    runs = [made(seed=s) for s in (0, 1, 2, 5)] + [made(seed=6, state="failed")]
    text = shown(monkeypatch, runs, about="What it is.")
    assert "## Digits\n\nWhat it is.\n\n    python -m app.sweep task=digits trials=2 data.root=/path/to/data" in text
    assert "4 finished runs; 1 unfinished; seeds 0-2, 5; code 1+abc." in text
    cells = (
        "4 (+1 failed) | 90.00 ± 0.00 % [90.00, 90.00] | 80.00 ± 0.00 % [80.00, 80.00] | 42.00 ± 2.16 [38.56, 45.44]"
    )
    assert f"| antlr | first | {cells} |" in text
    assert "published" not in text


def test_the_command_that_ran_last_is_shown_without_paths_of_the_machine(monkeypatch):
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/command.txt").write_text("python -m app.sweep trials=9 data.cache=/tmp/c out=runs/x\n")
    assert "    python -m app.sweep trials=9 data.cache=/path/to/data out=runs/x\n" in shown(monkeypatch, [made()])


def test_experiments_without_runs_are_listed_with_their_commands(monkeypatch):
    waiting = Experiment("Later", "python -m app.sweep out=runs/later", about="Takes days.")
    text = results_page.results_text([waiting], {}, Path("none.md"), Path("RESULTS.md"))
    assert "## Not run here\n\nLater: Takes days.\n\n    python -m app.sweep out=runs/later\n" in text


def count_run(rule, most, variant="srm"):
    objective = {"max_target_spikes": most, "min_target_spikes": 0}
    return made(rule, loss="count", readout="count", objective=objective, learning={"variant": variant})


def test_published_figures_stand_beside_settings_like_theirs_and_the_others_below(monkeypatch):
    text = shown(monkeypatch, [count_run("activation", 10), count_run("antlr", 30)], published=["A4"])
    (ours,) = [line for line in text.splitlines() if line.startswith("| activation")]
    assert ours.endswith("| 97.73 ± 0.14 % at 436 ± 17 spikes |")
    (other,) = [line for line in text.splitlines() if line.startswith("| antlr")]
    assert other.endswith("| – |")
    below = text[text.index("Published (Kim") :]
    assert "Lee et al. (scalar-mediated), target not fixed: 98.66 %" in below
    assert "ANTLR, 10 / 0: 97.73 ± 0.09 % at 415 ± 14 spikes" in below
    assert "436" not in below


def test_every_published_row_has_a_name_and_an_accuracy_and_its_settings_exist():
    from app.config.schema import keys

    for table in published().values():
        assert table.source
        for row in table.rows:
            assert row["name"]
            assert row["accuracy"].endswith("%")
            assert set(row.get("settings", ())) <= set(keys())


def test_a_search_shows_the_test_of_the_choice_alone(monkeypatch):
    good, bad = made(accuracy=(0.9,), optim={"lr": 1e-3}), made(accuracy=(0.7,), optim={"lr": 1e-4})
    half = made(accuracy=(0.99,), optim={"lr": 1.0}, state="failed")
    text = shown(monkeypatch, [bad, good, half], choose=True)
    assert "| **antlr, lr 0.001** (chosen) | first | 1 | 90.00 % | 80.00 % |" in text
    assert "| antlr, lr 0.0001 | first | 1 | 70.00 % | – | – |" in text
    assert "(chosen)" not in next(line for line in text.splitlines() if "lr 1 " in line)


def test_a_tie_is_called_a_tie(monkeypatch):
    text = shown(monkeypatch, [made(optim={"lr": lr}, accuracy=(0.1 + 0.2,)) for lr in (1e-3, 1e-4)], choose=True)
    assert "| **antlr, lr 0.001** (tie of 2) |" in text
    assert "| **antlr, lr 0.0001** (tie of 2) |" in text


def fold_run(fold, accuracy, seed=0):
    return made(seed=seed, accuracy=(accuracy + 0.1,), data={"folds": 5, "fold": fold})


def test_folds_are_trials_and_get_an_interval(monkeypatch):
    runs = [fold_run(fold, value) for fold, value in enumerate((0.80, 0.82, 0.84, 0.86, 0.88))]
    text = shown(monkeypatch, runs, recordings=1100)
    assert "| antlr | first | 5 | 94.00 ± 3.16 % [90.07, 97.93] |" in text
    assert "over 5 folds: mean test accuracy 84.00 %; 95 % interval 80.07-87.93 % (Student's t" in text
    assert "81.72-86.05 % (Wilson, the 1100 recordings" in text
    assert "cross-validation" not in shown(monkeypatch, [made()])


def test_seeds_of_a_fold_are_averaged_before_the_folds():
    (one,) = group(result_of(r) for r in (fold_run(1, 0.8), fold_run(1, 0.6, seed=1), fold_run(0, 0.5)))
    assert fold_means(one.finished, "accuracy") == pytest.approx([0.5, 0.7])


def test_intervals_are_those_of_the_textbooks():
    low, high = t_interval(2.0, 1.0, 3)
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert wilson_interval(0.5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert wilson_interval(1.0, 100)[1] == pytest.approx(1.0)
    assert wilson_interval(0.0, 100)[0] == pytest.approx(0.0, abs=1e-12)


def test_findings_and_included_files_keep_their_links_and_lose_a_level(monkeypatch):
    Path("docs/landscape").mkdir(parents=True)
    Path("docs/FINDINGS.md").write_text("# Findings\n\nOne, see [page](https://a.b) and [there](SPEC.md#x).\n")
    Path("docs/landscape/a.md").write_text("# Line\n\n![loss](line.png)\n\n| a | b |\n")
    text = shown(monkeypatch, [made()], include=["docs/landscape/a.md"])
    assert "## Findings\n\nOne, see [page](https://a.b) and [there](SPEC.md#x).\n" in text
    assert "### Line\n\n![loss](landscape/line.png)\n\n| a | b |\n" in text
    assert text.index("## Findings") < text.index("## Digits") < text.index("### Line")
    with pytest.raises(UserError, match=r"missing\.md does not exist"):
        shown(monkeypatch, [made()], include=["missing.md"])


def test_the_page_is_the_same_when_written_again(monkeypatch, capsys):
    Path("e.yaml").write_text(f"- title: Digits\n  command: >-\n    {COMMAND[:40]}\n    {COMMAND[40:].strip()}\n")
    first = shown(monkeypatch, [made()])
    assert results_page.main(["out=docs/RESULTS.md", "experiments=e.yaml"]) == 0
    assert results_page.main(["out=docs/RESULTS.md", "experiments=e.yaml"]) == 0
    assert Path("docs/RESULTS.md").read_text() == first
    assert "docs/RESULTS.md: 1 of 1 experiments" in capsys.readouterr().out


def recorded(monkeypatch, runs):
    """What the page says of runs that are here, and then, from their record, where they are not."""
    shown(monkeypatch, runs)
    Path("runs/x/command.txt").write_text("python -m app.sweep trials=5 data.root=/home/me/data out=runs/x\n")
    Path("e.yaml").write_text("- {title: Digits, command: python -m app.sweep out=runs/x}\n")
    assert results_page.main(["experiments=e.yaml", "out=here.md", "--record"]) == 0
    Path("runs").rename("elsewhere")
    assert results_page.main(["experiments=e.yaml", "out=there.md"]) == 0
    return Path("here.md").read_text(), Path("there.md").read_text()


def test_a_record_gives_the_page_that_the_runs_gave(monkeypatch):
    """Settings of two kinds, a failed trial, a repeated one, and an accuracy whose last digit matters."""
    runs = [made(seed=s, accuracy=(0.5, 0.3 + s / 7, 0.3), source=f"runs/x/a{s}") for s in range(4)]
    runs += [made("timing", seed=s, state=("finished", "finished", "failed")[s], optim={"lr": 0.1}) for s in range(3)]
    runs += [made(seed=3, accuracy=(0.5, 0.3 + 3 / 7, 0.3), source="runs/x/again")]
    here, there = recorded(monkeypatch, runs)
    assert "| 2 (+1 failed) |" in here
    assert "runs/x/again repeats seed 3 of runs/x/a3, with the same numbers" in here
    assert there == here


def test_a_record_has_a_line_for_each_run_and_no_path_of_the_machine(monkeypatch):
    runs = [made(seed=s, out=f"/home/me/r{s}", **{"data.root": "/home/me/data"}) for s in range(3)]
    recorded(monkeypatch, runs)
    text = Path("docs/records/x.json").read_text()
    assert "/home/me" not in text
    record = json.loads(text)
    assert record["command"] == "python -m app.sweep trials=5 data.root=/path/to/data out=runs/x"
    assert record["settings"]["optim.lr"] == 1e-3
    assert [run["settings"] for run in record["runs"]] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert [run["summary"]["test/decision_spikes"] for run in record["runs"]] == [40, 41, 42]
    assert sum('"summary"' in line for line in text.splitlines()) == 3


def test_runs_that_are_here_count_instead_of_their_record(monkeypatch):
    recorded(monkeypatch, [made(seed=0), made(seed=1)])
    kept = Path("docs/records/x.json").read_text()
    shown(monkeypatch, [made(seed=7)])
    assert results_page.main(["experiments=e.yaml", "out=there.md"]) == 0
    assert "1 finished run; seeds 7" in Path("there.md").read_text()
    assert Path("docs/records/x.json").read_text() == kept  # without --record


@pytest.mark.parametrize("text", ["{", "[]", '{"command": "c", "settings": {}, "runs": [{}]}', "{}", "null", "\xff"])
def test_a_damaged_record_is_one_sentence(text):
    Path("docs/records").mkdir(parents=True)
    Path("docs/records/x.json").write_bytes(text.encode("latin-1"))
    Path("e.yaml").write_text("- {title: Digits, command: c out=runs/x}\n")
    with pytest.raises(UserError, match=r"docs/records/x\.json is no record of runs .*--record"):
        results_page.main(["experiments=e.yaml"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- title: A", "e.yaml, experiment 1: command is missing"),
        ("- command: c out=x", "title is missing"),
        ("- {title: A, command: python}", "needs one out=FOLDER"),
        ("- {title: A, command: 'c \"out=x'}", "cannot be read"),
        ("- {title: A, command: c out=x, colour: red}", "unknown key colour"),
        ("- {title: A, command: c out=x, published: [B9]}", "B9 is not in published.yaml"),
        ("title: A", "must be a list"),
        ("- just text", "title is missing"),
        ("[{title: A, command: c out=a/x}, {title: B, command: c out=b/x}]", "two experiments write into x"),
        ("{", "cannot be read as YAML"),
    ],
)
def test_a_wrong_experiment_is_named(text, named):
    with pytest.raises(UserError, match=named):
        listed(text)


def test_the_projects_own_experiments_can_be_read():
    assert len(read_experiments(ROOT / "docs/experiments.yaml")) > 3


def test_spike_trains_need_finished_runs_and_a_name_for_the_table(monkeypatch):
    with pytest.raises(UserError, match=r"must end with \.md"):
        spike_trains.main(["runs", "out=x.png"])
    monkeypatch.setattr(spike_trains, "read_results", lambda sources: [result_of(made())])
    with pytest.raises(UserError, match="no finished run of task=spike_trains in runs"):
        spike_trains.main(["runs"])


def test_figures_are_shown_with_what_they_count_and_with_their_augmentation(monkeypatch):
    moved = made(**{"data.max_shift_pixels": 1, "data.event_dropout": 0.2})
    text = shown(monkeypatch, [moved], published=["latency MNIST"])
    assert "moved by up to 1 px, 0.2 of the events dropped |" in text
    assert "| published | test accuracy | spikes | input | what is counted | augmentation | chosen by |" in text
    assert "| BPTC + NOSO, 784-400-10 | 98.09 % | about 139 | Poisson spike trains" in text
    assert "to be compared with our spikes per sample" in text
    assert "| BATS (Bacho & Chu 2022), 784-800-10 | about 98.88 % |" in text
    assert "best published" not in text
    assert "| none |" in shown(monkeypatch, [made()], published=["latency MNIST"])


def test_runs_of_several_code_versions_are_refused_unless_the_page_says_so(monkeypatch):
    runs = [made(seed=0), made(seed=1)]
    runs[1].code_version = "2+def"
    with pytest.raises(UserError, match=r"by 2 versions of the code \(1\+abc, 2\+def\).*--mixed"):
        shown(monkeypatch, runs)
    experiment = Experiment("Digits", COMMAND)
    known = {"Digits": ("python", [result_of(run) for run in runs])}
    text = results_page.results_text([experiment], known, Path("none.md"), Path("docs/RESULTS.md"), mixed=True)
    assert "**The figures are of 2 versions of the code**: 1+abc, 2+def." in text


def test_the_page_is_rebuilt_by_one_command_that_goes_on(monkeypatch, capsys):
    done = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch(exist_ok=False)"
    Path("done.py").write_text(done)
    Path("e.yaml").write_text(
        "- {title: A, command: python done.py a out=runs/a, then: [python done.py b]}\n"
        "- {title: B, command: python done.py data.root=/path/to/data out=runs/b, cpu_hours: 2}\n"
    )
    given = ["experiments=e.yaml", "out=R.md"]
    assert rebuild.main([*given, "--plan"]) == 0
    assert not Path("a").exists()
    assert rebuild.main(given) == 0
    assert all(Path(name).exists() for name in ("a", "b", "R.md"))
    printed = capsys.readouterr().out
    assert "B (about 2 CPU hours)\n  left out: give /path/to/data=FOLDER" in printed
    assert rebuild.main([*given, "--plan", "/path/to/data=here"]) == 0
    assert "  python done.py data.root=here out=runs/b" in capsys.readouterr().out
    with pytest.raises(RunStopped, match="ended with 1; mend it"):
        rebuild.main(given)
    with pytest.raises(UserError, match=r"data\.root is not known here: write /path/to/data=x"):
        rebuild.main(["data.root=x"])


def test_a_rebuild_refuses_runs_of_other_code(monkeypatch):
    Path("runs/a").mkdir(parents=True)
    Path("e.yaml").write_text("- {title: A, command: python done.py out=runs/a}\n")
    monkeypatch.setattr(rebuild, "stored_runs", lambda places: ([made()], []))
    with pytest.raises(UserError, match=r"runs/a holds runs of other code \(1\+abc; here it is .*add --mixed"):
        rebuild.main(["experiments=e.yaml", "--plan"])
