"""W&B keeps what a run logs, and never stops it."""

import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from run_tools import resume, rows, run

from app import tracking
from app.training.module import SpikingModule

wandb = pytest.importorskip("wandb")
OFFLINE = "tracking.mode=offline"


@pytest.fixture(autouse=True)
def _in_a_folder_and_with_a_service_of_its_own(tmp_path, monkeypatch):
    close_service()  # one that another test file has left
    monkeypatch.chdir(tmp_path)
    yield
    close_service()


def close_service():
    with suppress(Exception):
        wandb.teardown()


class Cut(BaseException):
    """Stands for SIGKILL."""


def records(path: Path) -> Iterator[object]:
    """The records of a ``.wandb`` file: a LevelDB log of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        position += 7
        if position + size > len(data) or (kind, size) == (0, 0):
            return
        parts.append(data[position : position + size])
        position += size
        if kind in (1, 4):
            yield Record.FromString(b"".join(parts))
            parts = []


def finished(path: Path) -> list[object]:
    """The records of a session that was closed; its service writes the last of them a little later."""
    for _ in range(100):
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") in ("exit", "final", "footer"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def history(path: Path) -> list[dict[str, float]]:
    """The rows of a session, without W&B's own columns and media."""
    found = []
    for record in finished(path):
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            numbers = {k: float(v) for k, v in items.items() if isinstance(v, int | float) and not k.startswith("_")}
            found.append(numbers)
    return found


def sessions(out: str) -> list[Path]:
    return sorted(Path(out).glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)


def ids(out: str) -> set[str]:
    return {path.stem.removeprefix("run-") for path in sessions(out)}


def as_history(out: str) -> list[dict[str, float]]:
    """What ``metrics.csv`` holds, in the form of W&B's history."""
    numbers = [{name: float(value) for name, value in row.items() if value} for row in rows(out)]
    return [{("trainer/global_step" if k == "step" else k): v for k, v in row.items()} for row in numbers]


def cut_at_step(monkeypatch, step, action):
    original = SpikingModule.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            action()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SpikingModule, "training_step", training_step)


def cut():
    raise Cut


def test_the_history_is_what_metrics_csv_holds():
    run("out=o", OFFLINE)
    (log,) = sessions("o")
    assert history(log) == as_history("o")
    assert any("train/loss" in row and "val/loss" in row for row in history(log))


def test_a_resumed_run_is_the_same_run_without_gaps_or_repeats(monkeypatch):
    run("out=whole", OFFLINE)
    with monkeypatch.context() as patch:
        cut_at_step(patch, 12, cut)
        with pytest.raises(Cut):
            run("out=part", OFFLINE, "checkpoint_every_s=1000")
    close_service()
    resume("part")
    assert len(sessions("part")) == 2
    assert len(ids("part")) == 1
    assert history(sessions("part")[-1]) == history(sessions("whole")[0]) == as_history("part")


def service() -> int:
    found = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True)
    return next(int(line.split()[0]) for line in found.stdout.splitlines() if "wandb-core" in line)


def test_a_killed_service_is_replaced_and_nothing_is_missing(monkeypatch, capsys):
    run("out=whole", OFFLINE)
    close_service()
    cut_at_step(monkeypatch, 5, lambda: os.kill(service(), signal.SIGKILL))
    run("out=o", OFFLINE)
    assert "going on with a new offline session" in capsys.readouterr().err
    assert rows("o") == rows("whole")
    assert history(sessions("o")[-1]) == as_history("o")
    assert len(ids("o")) == 1


def test_a_service_that_cannot_come_back_does_not_stop_the_run(monkeypatch, capsys):
    def break_down():
        def broken(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(wandb.Run, "log", broken)
        monkeypatch.setattr(wandb, "init", broken)

    run("out=whole", OFFLINE)
    with monkeypatch.context():
        cut_at_step(monkeypatch, 5, break_down)
        run("out=o", OFFLINE)
    assert "going on without it, metrics.csv is complete" in capsys.readouterr().err
    assert rows("o") == rows("whole")


@pytest.mark.parametrize("error", [RuntimeError("no service"), OSError(28, "No space left on device")])
def test_a_failing_start_does_not_stop_the_run(error, monkeypatch, capsys):
    def init(**options):
        raise error

    monkeypatch.setattr(wandb, "init", init)
    run("out=o", OFFLINE)
    assert "W&B cannot start offline" in capsys.readouterr().err
    assert len(rows("o")) > 4


def test_online_without_a_key_is_stored_offline(monkeypatch, capsys):
    monkeypatch.setattr(tracking, "_logged_in", lambda: False)
    run("out=o", "tracking.mode=online")
    assert "not logged in, the run is stored offline" in capsys.readouterr().err
    assert history(sessions("o")[0]) == as_history("o")


def test_nothing_private_is_stored(tmp_path, monkeypatch):
    home = tmp_path / "home-of-mallory"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "mallory-the-user")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    monkeypatch.setenv("SOME_SECRET", "swordfish-in-the-environment")
    monkeypatch.chdir(home / "work")
    run("out=runs/o", OFFLINE, "probes.raster=true")
    resume("runs/o", "trainer.max_epochs=3")
    resume("runs/o/../o")
    run("ckpt=runs/o/checkpoints/best.ckpt", "out=runs/p")
    secrets = [b"home-of-mallory", b"mallory-the-user", b"0123456789abcdef", b"swordfish"]
    files = [path for path in Path("runs").rglob("*") if path.is_file() or path.is_symlink()]
    assert len(files) > 8
    for path in files:
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path
