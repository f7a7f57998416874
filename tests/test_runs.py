"""The reader of a run's folder: right numbers from a good one, a sentence about every other, and no waiting."""

import json
import math
import os
from pathlib import Path

import pytest

from app.config import load_config
from app.config.schema import keys
from app.errors import UserError
from app.report import cli
from app.report.groups import group
from app.report.online import online_runs
from app.report.results import result_of
from app.run_files import printable
from app.runs import find_runs, read_run, stored_runs
from app.training.build import build_data, build_network
from app.training.module import SpikingModule
from tests.support.run_tools import resume, run

CONFIG = (
    "task: digits\nrule: antlr\nseed: 3\nloss: latency\nreadout: first\nnetwork: ['64', fc10]\noptim:\n  lr: 1.0e-05\n"
)
METRICS = "step,epoch,val/accuracy_first,train/loss\n9,0,0.5,\n19,1,0.75,nan\n"
SUMMARY = {"test/accuracy_first": 0.7, "train_s": 2.5, "steps": 20, "code_version": "1+g2", "data_fingerprint": "d1"}


def write(folder, config=CONFIG, metrics=METRICS, summary=SUMMARY):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("config.yaml", config), ("metrics.csv", metrics), ("summary.json", summary)):
        if text is not None:
            (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_is_read_whole():
    run = read_run(write("runs/a"))
    assert (run.state, run.troubles, run.code_version, run.data) == ("finished", [], "1+g2", "d1")
    assert (run.name, run.source, run.id) == ("a", "runs/a", str(Path("runs/a").resolve()))
    assert (run.settings["seed"], run.settings["optim.lr"], run.settings["network"]) == (3, 1e-5, ["64", "fc10"])
    assert run.rows[0] == {"step": 9, "epoch": 0, "val/accuracy_first": 0.5}
    assert math.isnan(run.rows[1]["train/loss"])
    assert result_of(run).best == {"accuracy_first": 0.75, "accuracy": 0.75, "epoch": 2}


def test_a_key_that_an_old_run_lacks_has_its_default():
    old, new = write("a"), write("b", CONFIG.replace("seed: 3", "seed: 4") + "checkpoint_every_s: 5.0\ninit: uniform\n")
    assert read_run(old).settings["init"] == keys()["init"].default == "uniform"
    (one,) = group(result_of(read_run(folder)) for folder in (old, new))
    assert len(one.finished) == 2


def test_what_made_an_unfinished_run_stands_on_top_of_its_settings():
    run = read_run(write("a", "# code 1+gabc\n# data 0f0f\n" + CONFIG, summary=None))
    assert (run.state, run.code_version, run.data) == ("unfinished", "1+gabc", "0f0f")


def test_a_run_that_has_just_begun_is_unfinished_without_any_trouble():
    run = read_run(write("a", metrics=None, summary=None))
    assert (run.state, run.troubles) == ("unfinished", [])


@pytest.mark.parametrize(
    ("damage", "trouble"),
    [
        ({"summary": ""}, "summary.json is not JSON"),
        ({"summary": "[" * 100_000}, "summary.json is not JSON"),
        ({"summary": "[1]"}, "holds no final numbers"),
        ({"metrics": None}, "metrics.csv is missing"),
        ({"metrics": "a,b\n1,2\n"}, "does not begin with step,epoch"),
        ({"metrics": ""}, "does not begin with step,epoch"),
        ({"metrics": METRICS[:-20]}, "no numbers"),
        ({"metrics": METRICS.split("19,")[0]}, "metrics.csv ends at step 9 of 19"),
        ({"metrics": METRICS.replace("0.75", "three quarters")}, "no numbers"),
        ({"metrics": METRICS.replace("19,1", "19,one")}, "no numbers"),
        ({"metrics": METRICS.replace("19,", "x,")}, "no numbers"),
        ({"metrics": METRICS + "\x00\xff,,,\n"}, "no numbers"),
        ({"metrics": METRICS + "9" * 5000 + ",1,0.5,\n"}, "no numbers"),
    ],
)
def test_a_damaged_run_says_what_is_damaged(damage, trouble):
    run = read_run(write("a", **damage))
    assert run.state == "damaged"
    assert trouble in "; ".join(run.troubles)
    result_of(run)


def odd_runs():
    """Folders of runs that nobody can use, each with a part of what must be said about it."""
    write("odd/seed text", CONFIG.replace("seed: 3", "seed: three"))
    write("odd/seed null", CONFIG.replace("seed: 3", "seed:"))
    write("odd/seed nan", CONFIG.replace("seed: 3", "seed: .nan"))
    write("odd/seed negative", CONFIG.replace("seed: 3", "seed: -1"))
    write("odd/seed huge", CONFIG.replace("seed: 3", "seed: 0x1" + "0" * 5000))
    write("odd/seed huge too", CONFIG.replace("seed: 3", "seed: " + "9" * 5000))
    write("odd/no task", CONFIG.replace("task: digits\n", ""))
    write("odd/no yaml", "a: [")
    write("odd/deep", "a: " + "[" * 10_000)
    write("odd/laughs", "a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    write("odd/list", "- 1")
    write("odd/empty", "")
    write("odd/bytes", "\x00\x01\x02")
    for name in ("pipe", "device", "loop", "folder"):
        write(f"odd/{name}", None)
    os.mkfifo("odd/pipe/config.yaml")
    Path("odd/device/config.yaml").symlink_to("/dev/zero")
    Path("odd/loop/config.yaml").symlink_to("config.yaml")
    Path("odd/folder/config.yaml").mkdir()
    return 17


def test_odd_runs_are_left_out_named_and_counted(capsys):
    write("odd/good")
    odd = odd_runs()
    Path("odd/around").symlink_to(".")
    runs, left_out = stored_runs([Path("odd")])
    assert [run.source for run in runs] == ["odd/good"]
    assert len(left_out) == odd
    assert all(sentence.startswith("odd/") and "\n" not in sentence for sentence in left_out)
    assert len(cli.read_results(["odd"])) == 1
    said = capsys.readouterr().err
    assert "left out: odd/bytes: " in said
    assert f"left out: {odd - cli.MOST_NAMED} more of {odd}" in said


@pytest.mark.parametrize("name", ["metrics.csv", "summary.json", "wandb_id"])
@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
def test_no_file_of_a_run_is_waited_for(name, kind):
    folder = write("a")
    (folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero" if kind == "device" else name)
    assert read_run(folder).state == ("finished" if name == "wandb_id" else "damaged")


def test_links_are_followed_once():
    write("far/a")
    Path("runs").mkdir()
    for name in ("one", "two"):
        Path("runs", name).symlink_to("../far")
    Path("far/back").symlink_to("../runs")
    assert find_runs(Path("runs")) == ([Path("runs/one/a")], [])


def test_a_folder_that_cannot_be_looked_into_is_named(monkeypatch):
    write("runs/a")
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    Path("runs/closed").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    runs, left_out = stored_runs([Path("runs")])
    assert ([run.source for run in runs], left_out) == (
        ["runs/a"], ["runs/closed cannot be looked into (Permission denied)"]
    )  # fmt: skip


def test_names_of_others_are_written_out():
    folder = write("a\x1b[31m\nb", CONFIG + 'tracking:\n  name: "x\\e[0m\\u202ey"\n')
    run = read_run(folder)
    assert (run.source, run.name) == (r"a\x1b[31m\nb", r"x\x1b[0m\u202ey")
    assert printable("ü ± ‰ 漢") == "ü ± ‰ 漢"
    assert len(printable("x" * 10_000)) == 201


def test_clocks_say_nothing_about_the_state_of_a_run():
    folder = write("a")
    os.utime(folder / "summary.json", (0, 0))
    assert read_run(folder).state == "finished"


def test_a_finished_run_that_goes_on_is_not_finished_any_more(monkeypatch):
    run("out=o", "trainer.max_epochs=1")
    before = read_run(Path("o"))
    head = Path("o/config.yaml").read_text().splitlines()[:2]
    assert head == [f"# code {before.code_version}", f"# data {before.data}"]
    assert (before.state, before.troubles, before.summary["steps"]) == ("finished", [], 8)

    def stop(*_):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(SpikingModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            resume("o", "trainer.max_epochs=2")
    assert (read_run(Path("o")).state, read_run(Path("o")).data) == ("unfinished", before.data)
    resume("o", "trainer.max_epochs=2")
    after = read_run(Path("o"))
    assert (after.state, after.troubles, after.summary["steps"]) == ("finished", [], 16)


def test_seeds_share_the_fingerprint_of_the_data_and_other_data_do_not():
    def fingerprint(*argv):
        config = load_config(["trainer.max_epochs=1", *argv])
        return build_data(config, build_network(config)).data_fingerprint()

    assert fingerprint("seed=0") == fingerprint("seed=1")
    assert fingerprint("seed=0") != fingerprint("data.latency_max_steps=20")
    assert fingerprint("task=spike_trains", "seed=0") == fingerprint("task=spike_trains", "seed=1")


def test_a_folder_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="nowhere is no folder"):
        stored_runs([Path("nowhere")])


def test_a_server_that_cannot_be_asked_is_one_sentence(monkeypatch):
    def refuse():
        raise ValueError("no key")

    monkeypatch.setattr("wandb.Api", refuse)
    with pytest.raises(UserError, match=r"wandb:me/project.*wandb login"):
        online_runs("me/project")
