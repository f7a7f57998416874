"""A run that is cut off anywhere and resumed ends as the uninterrupted one, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_tools import FAST, checkpoint, resume, rows, run, state_of

from app import checkpoint as checkpoint_module
from app.callbacks.checkpoints import LastCheckpoint
from app.errors import Interrupted
from app.training.module import SpikingModule
from reliability import __main__ as selftest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Cut(BaseException):
    """Stands for SIGKILL where a test wants it at an exact place; selftest uses the real one."""


def cut_in(monkeypatch, owner, name, call, action):
    """Do something instead of the given call (counted from 1) of a function."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            action()
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


def cut():
    raise Cut


PLACES = {
    "first step": (SpikingModule, "training_step", 1),
    "a step": (SpikingModule, "training_step", 6),
    "first step of an epoch": (SpikingModule, "training_step", 9),
    "last step of an epoch": (SpikingModule, "training_step", 8),
    "first batch of a validation": (SpikingModule, "validation_step", 1),
    "a validation": (SpikingModule, "validation_step", 3),
    "a later validation": (SpikingModule, "validation_step", 7),
    "end of a validation": (SpikingModule, "on_validation_epoch_end", 1),
    "end of an epoch": (SpikingModule, "on_train_epoch_end", 1),
    "writing a checkpoint": (checkpoint_module.torch, "save", 5),
    "between best and last": (checkpoint_module.torch, "save", 10),
    "keeping the previous": (checkpoint_module, "keep_previous", 4),
    "the test": (SpikingModule, "test_step", 2),
}
OPTIONS = {
    "plain": [],
    "validation in mid epoch": ["trainer.val_check_interval=3"],
    "accumulation": ["trainer.accumulate_grad_batches=3", "optim.schedule=cosine"],
    "workers": ["data.num_workers=1", "optim.name=sgd", "optim.momentum=0.5"],
    "validation every second epoch": ["trainer.check_val_every_n_epoch=2"],
    "warm-up": ["optim.warmup_epochs=0.7", "optim.schedule=cosine"],
    "target rate": ["init=target_rate"],
    "augmentation": ["data.event_dropout=0.1", "data.time_jitter_steps=2", "data.max_shift_pixels=1"],
    "steps": ["trainer.max_steps=13", "trainer.max_epochs=-1"],
}


def check_cut(place, options, monkeypatch):
    run("out=whole", *options)
    with monkeypatch.context() as patch:
        cut_in(patch, *PLACES[place], cut)
        with pytest.raises(Cut):
            run("out=part", *options)
    resume("part")
    assert state_of("part") == state_of("whole")
    assert not list(Path("part").rglob("*.part"))


@pytest.mark.parametrize("place", PLACES)
def test_cut_anywhere(place, monkeypatch):
    check_cut(place, [], monkeypatch)


@pytest.mark.parametrize("place", ["a step", "a validation", "end of an epoch"])
@pytest.mark.parametrize("options", list(OPTIONS)[1:])
def test_cut_with_options(options, place, monkeypatch):
    check_cut(place, OPTIONS[options], monkeypatch)


def test_cut_again_and_again_with_few_checkpoints(monkeypatch):
    run("out=whole")
    for call in (3, 6, 4, 9):
        with monkeypatch.context() as patch:
            cut_in(patch, SpikingModule, "training_step", call, cut)
            with pytest.raises(Cut):
                run("out=part", "checkpoint_every_s=1000") if call == 3 else resume("part")
    resume("part")
    assert state_of("part") == state_of("whole")


def test_the_epoch_that_was_cut_reports_all_its_samples(monkeypatch):
    cut_in(monkeypatch, SpikingModule, "training_step", 6, cut)
    with pytest.raises(Cut):
        run("out=part")
    sums = checkpoint("part")["callbacks"]["RunningMetrics"]["ranks"][0]
    assert (checkpoint("part")["global_step"], int(sums["samples"])) == (5, 5 * 32)


def test_a_checkpoint_is_only_written_when_the_last_is_old_enough(monkeypatch):
    run("out=o", "checkpoint_every_s=1000")
    cut_in(monkeypatch, SpikingModule, "on_train_epoch_end", 1, cut)
    with pytest.raises(Cut):
        run("out=p", "checkpoint_every_s=1000")
    assert not Path("p/checkpoints").exists()
    assert {path.name for path in Path("o/checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("place", "step"),
    [("a step", 6), ("a validation", 8), ("first batch of a validation", 8), ("last step of an epoch", 8)],
)
def test_a_signal_saves_and_says_how_to_go_on(place, step, signum, monkeypatch):
    run("out=whole")
    with monkeypatch.context() as patch:
        cut_in(patch, *PLACES[place], lambda: os.kill(os.getpid(), signum))
        with pytest.raises(Interrupted) as stop:
            run("out=part", "checkpoint_every_s=1000")
    assert stop.value.exit_code == 128 + signum
    assert f"step {step} is saved; go on with: python train.py ckpt=last out=part" in str(stop.value)
    assert checkpoint("part")["global_step"] == step
    resume("part")
    assert state_of("part") == state_of("whole")


def test_a_second_ctrl_c_leaves_at_once(monkeypatch):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr("app.callbacks.stop_signals.AGAIN_S", 0.0)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    cut_in(monkeypatch, SpikingModule, "training_step", 3, twice)
    with pytest.raises(Interrupted, match="second time"):
        run("out=o")
    assert checkpoint("o")["global_step"] == 2


def test_signals_are_given_back(monkeypatch):
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    run("out=o")
    cut_in(monkeypatch, SpikingModule, "training_step", 3, cut)
    with pytest.raises(Cut):
        run("out=p")
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_last_without_any_checkpoint_starts_from_the_beginning(monkeypatch, capsys):
    run("out=whole", "seed=3")
    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_start", lambda *_: cut())
        with pytest.raises(Cut):
            run("out=part", "seed=3")
    resume("part")
    assert "part has no checkpoint yet: starting from the beginning" in capsys.readouterr().err
    assert state_of("part") == state_of("whole")


def test_a_moved_run_goes_on(monkeypatch):
    run("out=whole")
    cut_in(monkeypatch, SpikingModule, "training_step", 12, cut)
    with pytest.raises(Cut):
        run("out=there/part")
    Path("there/part").rename("here")
    resume("here")
    assert state_of("here") == state_of("whole")
    assert {path.name for path in Path("there").iterdir()} == set()


def test_a_finished_run_is_tested_again_and_stays_the_same():
    run("out=o")
    before, table = state_of("o"), rows("o")
    resume("o")
    assert (state_of("o"), rows("o")) == (before, table)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_exit_code_of_a_signal(signum, code):
    out = Path("o")
    endless = [a for a in FAST if not a.startswith("trainer.max_epochs")] + ["trainer.max_epochs=10000"]
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *endless, "out=o"], stderr=subprocess.PIPE, text=True
    )
    while not (out / "checkpoints/last.ckpt").exists():
        time.sleep(0.05)
        assert child.poll() is None
    child.send_signal(signum)
    _, printed = child.communicate(timeout=20)
    assert child.returncode == code
    assert "go on with: python train.py ckpt=last out=o" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_selftest_with_real_kills(capsys):
    assert selftest.main(["resume", "--kills", "2", "trainer.max_epochs=15"]) == 0
    printed = capsys.readouterr().out
    assert "2 kills: nothing was lost" in printed
    assert "DIFFERENT" not in printed
