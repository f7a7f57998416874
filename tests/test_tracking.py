"""W&B keeps what a run logs, and never stops it."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from run_tools import resume, rows, run

from app import tracking
from app.report.runs import Run, read_log, stored_runs
from app.training.module import SpikingModule
from reliability.lost_tracking import after_sync, numbers, services_of, sessions
from reliability.wandb_server import WandbServer

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


def only_session(out: str) -> Path:
    """The log of a run with one session; its service may write the first record a little later."""
    for _ in range(100):
        if found := sessions(Path(out)):
            (log,) = found
            return log
        time.sleep(0.1)
    raise AssertionError(f"{out} has no session")


def finished(path: Path) -> Run:
    """A session that was closed; its service writes the end of it a little later."""
    for _ in range(100):
        session = read_log(path)
        if session is not None and session.exit_code is not None:
            return session
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def history(path: Path) -> list[dict[str, float]]:
    """The rows of a session, without W&B's own columns and media."""
    return [numbers(row) for row in finished(path).history]


def ids(out: str) -> set[str]:
    return {path.stem.removeprefix("run-") for path in sessions(Path(out))}


def as_history(out: str) -> list[dict[str, float]]:
    """What ``metrics.csv`` holds, in the form of W&B's history."""
    return [{name: float(value) for name, value in row.items() if value} for row in rows(out)]


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
    log = only_session("o")
    assert history(log) == as_history("o")
    assert any("train/loss" in row and "val/loss" in row for row in history(log))


def test_pictures_do_not_displace_the_numbers_of_their_epoch():
    probes = ["probes.landscape_epochs=[0,1,2]", "probes.landscape_points=3", "probes.landscape_samples=8"]
    run("out=o", OFFLINE, "probes.raster=true", *probes)
    log = only_session("o")
    kept = [{k: v for k, v in row.items() if not k.startswith(("landscape", "raster"))} for row in history(log)]
    assert kept == as_history("o")
    assert sum("landscape" in name for row in finished(log).history for name in row) >= 3


def test_a_resumed_run_is_the_same_run_without_gaps_or_repeats(monkeypatch):
    run("out=whole", OFFLINE)
    with monkeypatch.context() as patch:
        cut_at_step(patch, 12, cut)
        with pytest.raises(Cut):
            run("out=part", OFFLINE, "checkpoint_every_s=1000")
    close_service()
    resume("part")
    assert len(sessions(Path("part"))) == 2
    assert len(ids("part")) == 1
    assert history(sessions(Path("part"))[-1]) == history(sessions(Path("whole"))[0]) == as_history("part")
    ((merged,), unreadable) = stored_runs(sessions(Path("part")))
    assert ([numbers(row) for row in merged.history], unreadable) == (as_history("part"), [])


def test_an_online_run_that_is_resumed_sends_every_row_once(monkeypatch):
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as patch:
            cut_at_step(patch, 12, cut)
            with pytest.raises(Cut):
                run("out=o", "tracking.mode=online", "checkpoint_every_s=1000")
        close_service()
        resume("o")
        ((name, lines),) = server.history.items()
        assert ids("o") == {name}
        assert [numbers(row) for row in server.rows(name)] == as_history("o")
        assert sorted(lines) == list(range(len(lines)))


def test_a_run_without_network_can_be_synchronised_later():
    run("out=o", OFFLINE)
    finished(sessions(Path("o"))[0])
    assert after_sync(Path("o")) == as_history("o")


@pytest.mark.parametrize("mood", ["mute", "refusing"])
def test_a_server_that_does_not_take_the_run_does_not_stop_it(mood, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "START_SECONDS", 2.0)
    with WandbServer(mood) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        run("out=o", "tracking.mode=online")
    assert "cannot start online" in capsys.readouterr().err
    assert history(sessions(Path("o"))[-1]) == as_history("o")


@pytest.mark.parametrize("mood", ["well", "mute"])
def test_a_server_that_goes_away_does_not_hold_the_run_up(mood, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 3.0)
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

        def leave():
            server.mood = mood
            server.close()

        cut_at_step(monkeypatch, 5, leave)
        began_s = time.monotonic()
        run("out=o", "tracking.mode=online")
    close_service()
    assert time.monotonic() - began_s < 60
    assert "wandb sync --no-skip-online o/wandb/run-" in capsys.readouterr().err
    assert after_sync(Path("o")) == as_history("o")


def test_a_killed_service_is_replaced_and_nothing_is_missing(monkeypatch, capsys):
    run("out=whole", OFFLINE)
    close_service()
    cut_at_step(monkeypatch, 5, lambda: os.kill(services_of(os.getpid())[0], signal.SIGKILL))
    run("out=o", OFFLINE)
    assert "going on with a new offline session" in capsys.readouterr().err
    assert rows("o") == rows("whole")
    assert history(sessions(Path("o"))[-1]) == as_history("o")
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
    assert history(sessions(Path("o"))[0]) == as_history("o")


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
