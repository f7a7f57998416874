"""The reader of W&B's logs that the tests use: equal to wandb's own, patient with torn logs."""

import json
import math
import subprocess
import sys

import pytest

from reliability import wandb_log
from reliability.wandb_log import STEP, read_log

WORDS = ("NaN", "Infinity", "-Infinity")
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
    return json.dumps({key: float(v) if v in WORDS else v for key, v in row.items()}, sort_keys=True)


def test_reads_what_wandb_itself_reads(folder):
    (path,) = folder.rglob("run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path.parent)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    records = [json.loads(line) for line in printed.splitlines()]
    run = read_log(path)
    assert path.stat().st_size > 2 * wandb_log.BLOCK_BYTES
    theirs = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert len(run.history) == len(theirs) == 300
    assert [comparable(row) for row in theirs] == [comparable(row) for row in run.history]
    first = next(r["run"] for r in records if r["type"] == "run")
    assert (run.id, run.name) == (first["run_id"], first["display_name"]) == ("abc123", "first")
    assert run.config == CONFIG
    assert run.summary["test/accuracy_first"] == 0.5
    assert run.exit_code == next(r["exit"]["exit_code"] for r in records if r["type"] == "exit") == 0


def test_a_killed_run_keeps_its_whole_records(folder, tmp_path):
    (path,) = folder.rglob("run-*.wandb")
    whole = read_log(path)
    torn = tmp_path / "run-abc123.wandb"
    torn.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run = read_log(torn)
    assert run.exit_code is None
    assert 100 < len(run.history) < 200
    assert [comparable(row) for row in run.history] == [comparable(row) for row in whole.history[: len(run.history)]]


@pytest.mark.parametrize(
    "content", [b"", b":W&B\x00\x00\x00", b"something else entirely", b":W&B" + b"\x01" * 500], ids=len
)
def test_a_log_without_a_run_is_none(content, tmp_path):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(content)
    assert read_log(path) is None
