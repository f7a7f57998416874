"""The reader of stored W&B runs: equal to wandb's own, whole over resumed sessions, patient with torn logs."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest

from app.errors import UserError
from app.report import runs
from app.report.runs import STEP, Run, log_files, merge_sessions, online_runs, read_log, stored_runs

CONFIG = {"task": "digits", "rule": "antlr", "seed": 3, "optim": {"lr": 1e-4}, "network": ["64", "fc10"], "ckpt": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one fresh offline run, written by wandb itself."""
    import wandb

    out = tmp_path_factory.mktemp("stored")
    settings = wandb.Settings(console="off", silent=True, x_disable_meta=True, x_disable_stats=True)
    with wandb.init(mode="offline", dir=out, id="abc123", name="first", config=CONFIG, settings=settings) as run:
        for step in range(300):
            run.log(
                {STEP: step, "val/loss": 1 / (step + 1), "odd": math.nan if step % 2 else math.inf, "long": "x" * 500}
            )
        run.summary["test/accuracy_first"] = 0.5
    return out


def comparable(row):
    """A row as text, in which NaN equals NaN; wandb's command prints it, and infinity, in quotation marks."""
    return json.dumps({key: runs._number(value) for key, value in row.items()}, sort_keys=True)


def test_reads_what_wandb_itself_reads(folder):
    (path,) = log_files(folder)
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path.parent)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    records = [json.loads(line) for line in printed.splitlines()]
    run = read_log(path)
    assert path.stat().st_size > 2 * runs.BLOCK_BYTES
    theirs = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert len(run.history) == len(theirs) == 300
    assert [comparable(row) for row in theirs] == [comparable(row) for row in run.history]
    first = next(r["run"] for r in records if r["type"] == "run")
    assert (run.id, run.name) == (first["run_id"], first["display_name"]) == ("abc123", "first")
    assert run.config == CONFIG
    assert run.summary["test/accuracy_first"] == 0.5
    assert run.exit_code == next(r["exit"]["exit_code"] for r in records if r["type"] == "exit") == 0


def test_a_killed_run_keeps_its_whole_records(folder, tmp_path):
    (path,) = log_files(folder)
    whole = read_log(path)
    torn = tmp_path / "run-abc123.wandb"
    torn.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run = read_log(torn)
    assert run.state == "unfinished"
    assert 100 < len(run.history) < 200
    assert [comparable(row) for row in run.history] == [comparable(row) for row in whole.history[: len(run.history)]]


@pytest.mark.parametrize(
    "content", [b"", b":W&B\x00\x00\x00", b"something else entirely", b":W&B" + b"\x01" * 500], ids=len
)
def test_a_log_without_a_run_is_named_not_read(content, tmp_path):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(content)
    assert stored_runs(log_files(tmp_path)) == ([], [path.resolve()])


def session(start, steps, **changes):
    rows = [{STEP: step, "loss": start + step} for step in steps]
    return Run(id="a", start_s=start, history=rows, summary={"start": start}, sources=[f"{start}"], **changes)


def test_sessions_of_a_resumed_run_become_one_and_the_later_one_counts():
    killed, resumed, other = session(1, range(6)), session(2, range(4, 9), exit_code=0), Run(id="b", start_s=0)
    first, run = merge_sessions([resumed, other, killed])
    assert first.id == "b"
    assert [row["loss"] for row in run.history] == [1, 2, 3, 4, *(2 + step for step in range(4, 9))]
    assert (run.state, run.summary, run.sources) == ("finished", {"start": 2}, ["1", "2"])


def test_a_session_that_logged_nothing_drops_nothing():
    (run,) = merge_sessions([session(1, range(3), exit_code=0), session(2, [])])
    assert len(run.history) == 3
    assert run.state == "unfinished"


def test_online_runs_come_through_the_api(monkeypatch):
    stored = SimpleNamespace(
        id="a", name="n", state="crashed", url="https://x/a", config={"seed": 1}, summary={"loss": "NaN"},
        scan_history=lambda: [{STEP: 0, "loss": "Infinity"}],
    )  # fmt: skip
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(runs=lambda project, order: [stored]))
    (run,) = online_runs("me/project")
    assert (run.state, run.history, run.sources) == ("failed", [{STEP: 0, "loss": math.inf}], ["https://x/a"])
    assert math.isnan(run.summary["loss"])


def test_a_server_that_cannot_be_asked_is_one_sentence(monkeypatch):
    def refuse():
        raise ValueError("no key")

    monkeypatch.setattr("wandb.Api", refuse)
    with pytest.raises(UserError, match=r"wandb:me/project.*wandb login"):
        online_runs("me/project")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        log_files(tmp_path / "nowhere")
