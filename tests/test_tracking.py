"""W&B keeps what a run logs, and never stops it."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

import train
from app import tracking
from app.best import best_validation, measure_of
from app.config import from_dict, help_text, load_config, to_dict
from app.errors import UserError
from app.report.groups import group
from app.report.online import online_runs
from app.report.results import result_of
from app.runs import read_run
from app.training.module import SpikingModule
from reliability.lost_tracking import after_sync, numbers, services_of, sessions, tracked
from reliability.wandb_log import Session, read_log
from reliability.wandb_server import WandbServer
from tests.support.run_tools import FAST, resume, rows, run

wandb = pytest.importorskip("wandb")
OFFLINE = "tracking.mode=offline"


@pytest.fixture(autouse=True)
def _in_a_folder_and_with_a_service_of_its_own(tmp_path, monkeypatch):
    close_service()  # one that another test file has left
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
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


def finished(path: Path) -> Session:
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
    return tracked([{name: float(value) for name, value in row.items() if value} for row in rows(out)])


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


def test_the_summary_holds_the_best_validation_beside_its_test_and_classes_are_one_table():
    run("out=o", OFFLINE, "trainer.max_epochs=3", "optim.lr=0.03")
    session = finished(only_session("o"))
    best = read_run(Path("o"))
    chosen = best_validation(best.rows, measure_of(True, "first"))
    assert session.summary["best/val/loss"] == chosen["loss"] == best.summary["best/val/loss"]
    assert session.summary["best/val/accuracy_first"] == max(
        row["val/accuracy_first"] for row in best.rows if "val/accuracy_first" in row
    )
    assert not [name for row in session.history for name in row if "/class" in name]
    assert "class1" not in str(session.summary)
    (table,) = Path("o").rglob("media/html/*.html")
    text = table.read_text()
    assert text.count("<tr>") == 11
    assert f"<td>{100 * best.summary['test/class3/accuracy_first']:.2f} %</td>" in text


def test_the_same_run_is_read_from_its_folder_and_from_the_server(monkeypatch):
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        run("out=o", "tracking.mode=online", "tracking.entity=nobody", "tracking.project=p")
        stored = read_run(Path("o"))
        server.about["other"] = {"config": json.dumps({"task": {"value": "digits"}}), "displayName": "foreign"}
        ((online,), left_out) = online_runs("nobody/p")
    assert (
        (online.id, online.name, online.state) == (stored.id, stored.name, stored.state) == (stored.id, "o", "finished")
    )
    assert (online.code_version, online.data) == (stored.code_version, stored.data)
    assert [sentence.split(": ", 1)[1] for sentence in left_out] == [
        "it names no rule, so it is no run of this project"
    ]
    rows = [{name: value for name, value in row.items() if "/class" not in name} for row in stored.rows]
    assert online.rows == rows
    (one,) = group([result_of(stored), result_of(online)])
    assert ([r.run.source for r in one.finished], len(one.repeats)) == ([online.source], 1)
    assert one.repeats[0][0].best["accuracy"] == one.finished[0].best["accuracy"]
    assert {k: v for k, v in one.repeats[0][0].test.items() if "class" not in k} == one.finished[0].test


@pytest.mark.parametrize(
    ("environment", "argv", "mode"),
    [
        ({}, [], "offline"),
        ({"WANDB_MODE": "disabled"}, [], "disabled"),
        ({"WANDB_MODE": "Offline"}, ["config=c.yaml"], "offline"),
        ({"WANDB_MODE": "dryrun"}, ["config=c.yaml"], "offline"),
        ({"WANDB_MODE": "online"}, [], "online"),
        ({"WANDB_DISABLED": "true"}, [], "disabled"),
        ({"WANDB_DISABLED": "1", "WANDB_MODE": "online"}, [], "disabled"),
        ({"WANDB_DISABLED": "false"}, [], "offline"),
        ({"WANDB_MODE": "disabled"}, ["tracking.mode=offline"], "offline"),
        ({"WANDB_DISABLED": "true"}, ["tracking.mode=offline"], "offline"),
    ],
)
def test_wandbs_environment_is_respected_and_the_command_line_wins(environment, argv, mode, monkeypatch):
    Path("c.yaml").write_text("tracking:\n  mode: online\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_config(argv).tracking.mode == mode
    assert from_dict(to_dict(load_config([])), [a for a in argv if a != "config=c.yaml"]).tracking.mode == mode
    assert "WANDB_MODE" in help_text()


def test_an_unknown_mode_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(UserError, match="WANDB_MODE='shared' in the environment must be"):
        load_config([])


@pytest.mark.parametrize(("argv", "logs"), [([], 0), (["tracking.mode=offline"], 1)])
def test_disabled_in_the_environment_stores_nothing_unless_the_command_line_asks(argv, logs, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert train.main([*(argument for argument in FAST if not argument.startswith("tracking")), "out=o", *argv]) == 0
    assert len(list(Path("o").rglob("*.wandb"))) == logs


def test_agents_of_a_sweep_get_folders_and_ids_of_their_own(monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    folders = set()
    for name in ("run1", "run2"):
        monkeypatch.setenv("WANDB_RUN_ID", name)
        folders.add(load_config([]).out)
        assert tracking._run_id(Path()) == name
        Path("wandb_id").unlink()
    assert folders == {"runs/digits-antlr-latency-s0-run1", "runs/digits-antlr-latency-s0-run2"}
    assert load_config(["out=x"]).out == "x"
    monkeypatch.setenv("WANDB_RUN_ID", "../../escape")
    assert load_config([]).out == "runs/digits-antlr-latency-s0"


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
    finished(only_session("o"))
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
    assert history(only_session("o")) == as_history("o")


def test_nothing_private_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "host-of-mallory")
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
    machine = [os.uname().nodename.encode()] if len(os.uname().nodename) > 4 else []  # a short name may be anywhere
    secrets = [*machine, b"host-of-mallory", b"home-of-mallory", b"mallory-the-user", b"0123456789abcdef", b"swordfish"]
    files = [path for path in Path("runs").rglob("*") if path.is_file() or path.is_symlink()]
    assert len(files) > 8
    for path in files:
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path
