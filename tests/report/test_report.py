"""The comparison of runs: best epochs, trials put together, tables, the page, the command."""

import csv
import json
import math
import re
import sys

import pytest

from app.errors import run_command
from app.report import __main__ as command
from app.report import cli
from app.report.groups import Spread, group, mean_curve, spread
from app.report.page import page
from app.report.results import result_of, thin
from app.report.tables import csv_text, markdown, percent, short
from tests.support.made_runs import made


def groups_of(*runs):
    return group(result_of(run) for run in runs)


def test_the_best_epoch_is_the_first_with_the_best_validation():
    result = result_of(made(accuracy=(0.5, 0.9, 0.9)))
    assert result.best["epoch"] == 2
    assert (result.best["accuracy_first"], result.best["accuracy"], result.best["decision_spikes"]) == (0.9, 0.9, 11)
    assert result.curves["val/accuracy"] == [(1, 0.5), (2, 0.9), (3, 0.9)]
    assert result.curves["train/loss"] == [(1, 2.0), (2, 1.0), (3, 0.0)]
    assert "train/loss_step" not in result.curves
    assert not any("class" in name for name in result.curves)


def test_one_of_a_thing_is_named_in_the_singular():
    text = page(groups_of(made(source="a"), made(source="b")), "Comparison")
    assert ">1 remark on these runs<" in text
    assert "1 run and 1 repeated of 1 setting;" in text


def test_a_task_without_labels_is_chosen_by_its_loss():
    result = result_of(made(task="spike_trains", accuracy=(0.5, math.nan, 0.9)))
    assert (result.measure.name, result.best["epoch"]) == ("loss", 3)
    assert "accuracy" not in result.test


def test_several_validations_in_an_epoch_stand_between_epochs():
    run = made(accuracy=(0.1, 0.2))
    for row in run.rows:
        row["epoch"] = 0
    assert result_of(run).curves["val/accuracy"] == [(0.5, 0.1), (1.0, 0.2)]


def test_spread_is_that_of_a_sample():
    assert spread([1.0, 2.0, 3.0, None]) == Spread(2.0, 1.0, 3)
    assert spread([5.0])[0::2] == (5.0, 1)
    assert math.isnan(spread([5.0]).std)
    assert math.isnan(spread([]).mean)
    assert math.isnan(spread([1.0, math.nan]).std)


def test_the_mean_curve_ends_where_the_first_trial_ends():
    curve = mean_curve([[(1, 0.0), (2, 1.0), (3, 9.0)], [(1, 1.0), (2, 3.0)]])
    assert [(x, value.mean, value.n) for x, value in curve] == [(1, 0.5, 2), (2, 2.0, 2)]
    assert thin(list(range(1000)), 10)[-1] == 999


def test_trials_differ_in_seed_and_place_only():
    (one,) = groups_of(made(seed=1), made(seed=0, out="elsewhere", code="1+abc"), made(seed=2, state="unfinished"))
    assert [r.seed for r in one.results] == [0, 1, 2]
    assert (len(one.finished), one.unfinished, one.label) == (2, 1, "antlr")
    assert one.spread("test", "decision_spikes") == pytest.approx((40.5, math.sqrt(0.5), 2))


def test_settings_are_named_after_what_tells_them_apart():
    runs = [made(optim={"lr": lr, "grad_clip": clip}) for lr in (1e-3, 1e-4) for clip in (1.0, 10.0)]
    groups = groups_of(*runs, made("timing"), made("activation", loss="count", readout="count"))
    assert {g.label for g in groups if g.rule == "antlr"} == {
        f"antlr, lr {lr}, grad_clip {clip}" for lr in ("0.001", "0.0001") for clip in (1, 10)
    }
    assert [g.rule for g in groups] == ["activation", "timing", *["antlr"] * 4]
    longer = groups_of(made(), made(trainer={"max_epochs": 9}), made(network=["64", "fc5", "fc10"], readout="count"))
    assert {g.label for g in longer} == {
        "antlr, 64-fc10", "antlr, 64-fc10, max_epochs 9", "antlr, 64-fc5-fc10"
    }  # fmt: skip


def test_a_name_keeps_the_loss_and_drops_what_goes_with_other_keys():
    """Every epoch number is alone or goes with the loss, so that the biases, tried before it, are not needed."""
    count = made(loss="count", init_bias_center=1, trainer={"max_epochs": 6})
    latency = [made(init_bias_center=b, trainer={"max_epochs": e}) for b, e in ((0, 6), (1, 8), (1, 20))]
    assert {g.label for g in groups_of(count, *latency)} == {
        "antlr, count, max_epochs 6", *(f"antlr, latency, max_epochs {e}" for e in (6, 8, 20))
    }  # fmt: skip


def test_the_best_setting_of_a_rule_comes_first():
    good, bad = made(accuracy=(0.9,), loss="latency"), made(accuracy=(0.2,), loss="count")
    assert [g.label for g in groups_of(bad, good)] == ["antlr, latency", "antlr, count"]


def test_numbers_are_written_with_the_digits_that_count():
    assert percent(Spread(0.97831, 0.00123, 3)) == "97.83 ± 0.12 % [97.53, 98.14]"
    assert short(Spread(0.0023491, 0.0000645, 3)) == "0.002349 ± 0.000064 [0.002189, 0.002509]"
    assert short(Spread(6536.4, 120.2, 3)) == "6536 ± 120 [6238, 6835]"
    assert short(Spread(0.0, math.nan, 1)) == "0"


def test_markdown_counts_trials_and_leaves_unfinished_ones_out():
    text = markdown(groups_of(made(seed=0), made(seed=1), made(seed=2, state="failed", accuracy=(0.1,))))
    assert "## digits" in text
    assert "| antlr | 2 (+1 failed) | 90.00 ± 0.00 % [90.00, 90.00] | 80.00 ± 0.00 % [80.00, 80.00] |" in text
    assert "40.50 ± 0.71 [34.15, 46.85]" in text


def test_runs_on_different_data_never_share_a_row():
    groups = groups_of(
        made(seed=0, fingerprint="aaaa"), made(seed=1, fingerprint="bbbb"), made(seed=2, fingerprint="bbbb")
    )
    assert {(g.label, len(g.finished)) for g in groups} == {("antlr, data aaaa", 1), ("antlr, data bbbb", 2)}
    old = groups_of(made(seed=0, fingerprint=None), made(seed=1, fingerprint="bbbb"))
    assert {g.label for g in old} == {"antlr, data unknown", "antlr, data bbbb"}
    (one,) = groups_of(made(seed=0, fingerprint=None, state="unfinished"), made(seed=1, fingerprint="bbbb"))
    assert (one.label, len(one.finished), one.unfinished) == ("antlr", 1, 1)


def test_the_same_seed_twice_is_one_trial_and_the_report_says_which_counts():
    runs = [made(seed=0, source="b"), made(seed=0, source="a"), made(seed=1, source="c"), made(seed=1, source="d")]
    runs[3].summary["test/loss"] = 9.0
    runs.append(made(seed=1, source="0", state="unfinished"))
    (one,) = groups_of(*runs)
    assert [r.run.source for r in one.finished] == ["a", "c"]
    assert one.spread("test", "decision_spikes").n == 2
    text = markdown([one])
    assert "| antlr | 2 (3 repeated) |" in text
    assert "antlr: b repeats seed 0 of a, with the same numbers; only the latter counts" in text
    assert "antlr: d repeats seed 1 of c, with OTHER numbers; only the latter counts" in text
    assert "antlr: 0 repeats seed 1 of c, which is unfinished; only the latter counts" in text


def test_results_of_different_code_are_marked():
    text = markdown(groups_of(made(seed=0, code="1+a"), made(seed=1, code="1+b"), made("timing", code="1+a")))
    assert "- The runs were made by 2 versions of the code: 1+a, 1+b" in text
    assert "| antlr | 2 (2 code versions) |" in text
    assert "| 1+a, 1+b |" in text
    assert "code" not in markdown(groups_of(made(seed=0), made(seed=1))).replace("code;", "")


def test_a_damaged_run_is_named_and_not_averaged():
    (one,) = groups_of(made(seed=0), made(seed=1, state="damaged"))
    assert "| antlr | 1 (+1 damaged) |" in markdown([one])


def test_intervals_stay_where_values_can_be():
    wide = [made(seed=0, accuracy=(1.0,)), made(seed=1, accuracy=(0.8,))]
    for run, spikes in zip(wide, (1.0, 9.0), strict=True):
        run.summary["test/decision_spikes"] = spikes
    text = markdown(groups_of(*wide))
    assert "90.00 ± 14.14 % [0.00, 100.00]" in text
    assert "5.000 ± 5.657 [0.000, 55.825]" in text


def test_a_table_is_no_formula_and_holds_the_settings_as_columns():
    runs = [made(optim={"lr": lr}, task="=1+1", notes="@x") for lr in (1e-3, 1e-4)]
    first, second = csv.DictReader(csv_text(groups_of(*runs)).splitlines())
    assert (first["task"], {first["optim.lr"], second["optim.lr"]}) == ("'=1+1", {"0.001", "0.0001"})
    assert first["data"] == "d1"


def test_csv_has_full_precision():
    (row,) = csv.DictReader(csv_text(groups_of(made(seed=0), made(seed=2))).splitlines())
    assert (row["finished"], row["unfinished"], row["setting"]) == ("2", "0", "antlr")
    assert float(row["test/decision_spikes std"]) == math.sqrt(2)
    assert row["test/accuracy_count mean"] == ""


def test_the_page_holds_everything_and_loads_nothing():
    runs = [made(seed=s) for s in range(3)] + [made("timing", notes="</script><b>x</b>", accuracy=(0.5, math.nan, 0.6))]
    text = page(groups_of(*runs), "A <title>")
    assert "A &lt;title&gt;" in text
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)|@import|url\(|fetch\(", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [g["label"] for g in data["groups"]] == ["timing", "antlr"]
    assert data["groups"][1]["test"]["decision_spikes"] == [41.0, 1.0, 3]
    assert data["groups"][1]["curves"]["val/accuracy"] == [[1, 0.5, 0.0, 3], [2, 0.9, 0.0, 3], [3, 0.8, 0.0, 3]]
    assert data["runs"][0]["curves"]["val/accuracy"] == [[1, 0.5], [2, None], [3, 0.6]]
    assert data["common"]["optim.lr"] == "0.001"
    assert data["runs"][1]["settings"] == {"rule": "antlr", "seed": "0", "out": "r0"}


def exit_of(argv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", *map(str, argv)])
    with pytest.raises(SystemExit) as leaving:
        run_command(command.main)
    return leaving.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["runs", "out=page.pdf"], "page.pdf"),
        (["nowhere"], "nowhere"),
        (["."], "no run of this project"),
        ([], "RUNS"),
        ([".", "--colour=red"], "--colour"),
        ([".", "tilte=Mine"], "tilte=Mine"),
        ([".", "title="], "title="),
    ],
)
def test_bad_input_is_one_sentence(argv, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, message = exit_of(argv, monkeypatch, capsys)
    assert code == 2
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert named in message


@pytest.mark.parametrize("name", ["deep/page.html", "table.md", "table.csv"])
def test_the_command_writes_what_the_name_asks_for(name, tmp_path, monkeypatch, capsys):
    runs = [made(seed=0), made(seed=1, state="unfinished")]
    monkeypatch.setattr(cli, "stored_runs", lambda places: (runs, ["x: it names no task"]))
    code, printed, warned = exit_of([tmp_path, f"out={tmp_path / name}"], monkeypatch, capsys)
    assert code == 0
    assert "2 runs of 1 setting, 1 of them unfinished" in printed
    assert "left out: x: it names no task" in warned
    assert "antlr" in (tmp_path / name).read_text()
