"""A run that is cut off anywhere and resumed ends as the uninterrupted one, bit for bit."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import chdir
from functools import cache, reduce
from importlib import import_module
from pathlib import Path

import pytest
import torch

import train
from app import evaluate
from app.callbacks import raster
from app.errors import Interrupted, UserError
from app.resume import checkpoint as checkpoint_module
from app.resume.checkpoint import newest_intact, read_checkpoint
from app.resume.saving import LastCheckpoint
from app.training import summary
from app.training.module import SpikingModule
from app.training.trained import load_trained
from reliability import __main__ as selftest
from reliability.patience import group, outputs_of
from tests.support import ROOT
from tests.support.run_tools import checkpoint, fast, resume, rows, run, state_of
from tests.support.two_ranks import TRAIN, two_ranks

KILLED_RUN = str(ROOT / "tests/support/killed_run.py")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which the tests may run, ignores it
    yield
    signal.signal(signal.SIGHUP, before)


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
    "keeping the previous": (checkpoint_module, "give_second_name", 4),
    "the test": (SpikingModule, "test_step", 2),
}
SAVING = {
    "before metrics.csv": ("app.resume.metrics_file", "MetricsFile._write", "before", ""),
    "between metrics.csv and last.ckpt": ("app.resume.checkpoint", "AtomicCheckpoints.save_checkpoint", "before", ""),
    "between last.ckpt and best.ckpt": ("app.resume.saving", "give_second_name", "before", "best"),
    "after best.ckpt": ("app.resume.saving", "give_second_name", "after", "best"),
}
"""The windows of the end of an epoch: module, function, when, and a word among its arguments."""
IMPROVING = ["checkpoint_every_s=1000", "init_bias_center=1", "optim.lr=0.01"]
"""Checkpoints at the ends of epochs only, each the best so far."""


def killed(place: str, *argv: str) -> None:
    """Train until SIGKILL."""
    child = group(sys.executable, KILLED_RUN, place, *fast(*argv))
    (printed,) = outputs_of([child])
    assert child.process.returncode == -signal.SIGKILL, printed


OPTIONS = {
    "plain": [],
    "validation in mid epoch": ["trainer.val_check_interval=3"],
    "accumulation": ["trainer.accumulate_grad_batches=3", "optim.schedule=cosine"],
    "workers": ["data.num_workers=1", "optim.name=sgd", "optim.momentum=0.5"],
    "validation every second epoch": ["trainer.check_val_every_n_epoch=2"],
    "warm-up": ["optim.warmup_epochs=0.7", "optim.schedule=cosine"],
    "target rate": ["init=target_rate"],
    "augmentation": ["data.event_dropout=0.1", "data.time_jitter_steps=2", "data.max_shift_pixels=1"],
    "learned constants": ["neuron.learn=[alpha_v,threshold]", "neuron.learn_lr_factor=50", "optim.schedule=cosine"],
    "loops and delays": [
        "network=[64,rfc12,fc10]",
        "delays.kind=synaptic",
        "delays.max_steps=4",
        "optim.momentum=0.5",
        "optim.name=sgd",
    ],
    "steps": ["trainer.max_steps=13", "trainer.max_epochs=-1"],
}


@cache
def undisturbed(*options: str) -> dict[str, str]:
    """The state of a run that nothing cut, trained once."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        run("out=whole", *options)
        return state_of("whole")


def check_cut(place, options, monkeypatch):
    with monkeypatch.context() as patch:
        cut_in(patch, *PLACES[place], cut)
        with pytest.raises(Cut):
            run("out=part", *options)
    resume("part")
    assert state_of("part") == undisturbed(*options)
    assert not list(Path("part").rglob("*.part"))


@pytest.mark.parametrize("place", PLACES)
def test_cut_anywhere(place, monkeypatch):
    check_cut(place, [], monkeypatch)


@pytest.mark.parametrize("place", ["a step", "a validation", "end of an epoch"])
@pytest.mark.parametrize("options", list(OPTIONS)[1:])
def test_cut_with_options(options, place, monkeypatch):
    check_cut(place, OPTIONS[options], monkeypatch)


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("window", SAVING)
@pytest.mark.parametrize("options", [[], ["trainer.val_check_interval=3"]], ids=str)
def test_cut_while_an_epoch_is_saved(options, window, epoch, monkeypatch):
    """What is resumed from and what is on record are written in one order: in no window is one newer than the other."""
    module, path, when, word = SAVING[window]
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, import_module(module))
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.extend([1] if word in repr(args) else [])
        if when == "before" and len(calls) == epoch:
            raise Cut
        result = original(*args, **kwargs)
        if len(calls) == epoch:
            raise Cut
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        with pytest.raises(Cut):
            run("out=part", *IMPROVING, *options)
    resume("part")
    assert state_of("part") == undisturbed(*IMPROVING, *options)


@pytest.mark.slow
@pytest.mark.parametrize("window", ["between metrics.csv and last.ckpt", "after best.ckpt"])
def test_killed_while_an_epoch_is_saved(window):
    """The same with real SIGKILLs; the second epoch is the last."""
    module, path, when, word = SAVING[window]
    killed(f"{module}:{path}:2:{when}:{word}", "out=part", *IMPROVING)
    resume("part")
    assert state_of("part") == undisturbed(*IMPROVING)


@pytest.mark.slow
def test_killed_while_an_epoch_of_two_processes_is_saved(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert two_ranks(*fast(*IMPROVING), "out=whole")[0] == [0, 0]
    for window, epoch in (("after best.ckpt", 1), ("between metrics.csv and last.ckpt", 2)):
        module, path, when, word = SAVING[window]
        first = (KILLED_RUN, f"{module}:{path}:{epoch}:{when}:{word}")
        codes, printed = two_ranks(*fast("out=part", *IMPROVING), first=first)
        assert codes[0] == -signal.SIGKILL, printed
        assert two_ranks("ckpt=last", "out=part")[0] == [0, 0]
        assert state_of("part") == state_of("whole"), (window, epoch)
        shutil.rmtree("part")


def test_the_best_checkpoint_is_the_last_one_by_another_name():
    run("out=o", *IMPROVING)
    assert Path("o/checkpoints/best.ckpt").samefile("o/checkpoints/last.ckpt")
    assert checkpoint("o")["format"] == 2


def test_a_best_checkpoint_between_two_steps_of_the_optimiser_is_a_file_of_its_own(monkeypatch):
    """While gradients are accumulated no run goes on exactly, so that state must not become the last one."""
    options = [*IMPROVING, "trainer.accumulate_grad_batches=3", "trainer.val_check_interval=4"]
    run("out=whole", *options)
    with monkeypatch.context() as patch:
        cut_in(patch, SpikingModule, "training_step", 6, cut)
        with pytest.raises(Cut):
            run("out=part", *options)
    assert {path.name for path in Path("part/checkpoints").iterdir()} == {"best.ckpt"}
    Path("part/checkpoints/best.ckpt").rename("best.ckpt")
    resume("part")
    assert state_of("part") == state_of("whole")


def test_a_picture_that_was_not_drawn_is_drawn_by_the_resumed_run(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(raster, "save", lambda *_: cut())
        with pytest.raises(Cut):
            run("out=o", "probes.raster=true")
    assert not Path("o/raster.png").exists()
    resume("o")
    assert Path("o/raster.png").read_bytes()[1:4] == b"PNG"


def test_half_a_picture_is_none(monkeypatch):
    def half(self, file, **options):
        file.write(b"half")
        cut()

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(Cut):
        run("out=o", "probes.raster=true")
    assert not Path("o/raster.png").exists()


def test_one_epoch_and_one_more_are_two_in_64_bits():
    """Lightning put the weights of a checkpoint into 32 bits before it made the module one of 64."""
    double = ["trainer.precision=64-true", *IMPROVING]
    run("out=whole", *double)
    run("out=part", "trainer.max_epochs=1", *double)
    resume("part", "trainer.max_epochs=2")
    for part in ("weights", "optimiser and schedule", "best checkpoint"):
        assert state_of("part")[part] == state_of("whole")[part]
    assert load_trained(Path("part"), []).module.network.spiking[0].weight.dtype == torch.float64
    expected = json.loads(Path("part/summary.json").read_text())
    assert evaluate.main(["ckpt=part", "out=again"]) == 0
    again = json.loads(Path("again/evaluation.json").read_text())
    assert again == {name: value for name, value in expected.items() if name.startswith("test/")}


def lines_of(out: str) -> list[str]:
    return Path(out, "metrics.csv").read_bytes().decode().splitlines(keepends=True)


def write_lines(out: str, lines: list[str]) -> None:
    Path(out, "metrics.csv").write_bytes("".join(lines).encode())


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda: Path("o/metrics.csv").unlink(), "it is missing"),
        (lambda: write_lines("o", lines_of("o")[:3]), "it ends after row 2 of 7"),
        (lambda: write_lines("o", lines_of("o")[:1]), "it ends after row 0 of 7"),
        (lambda: write_lines("o", [line for line in lines_of("o") if line[:2] != "3,"]), "its first 7 rows"),
        (
            lambda: write_lines("o", [line.replace("3,0,", "3,1,") for line in lines_of("o")]),
            "its first 7 rows",
        ),
        (lambda: write_lines("o", [*lines_of("o")[:7], "15,1\n"]), "is no table of metrics"),
    ],
)
def test_a_table_that_is_not_the_one_of_the_checkpoint_is_refused(harm, what):
    run("out=o")
    harm()
    with pytest.raises(UserError, match="go on in a new folder") as refused:
        resume("o", "trainer.max_epochs=3")
    assert what in str(refused.value)
    assert checkpoint("o")["global_step"] == 16
    assert train.main(["ckpt=o/checkpoints/last.ckpt", "out=new", "trainer.max_epochs=3"]) == 0
    assert [row["step"] for row in rows("new")] == ["18", "21", "23", "24"]


def test_rows_behind_the_checkpoint_are_written_again():
    run("out=whole")
    run("out=o", "trainer.max_epochs=1")
    assert lines_of("o")[-1].startswith("8,")  # of the test, behind the last step
    write_lines("o", [*lines_of("o"), lines_of("o")[-1].replace("8,", "9,", 1)])
    resume("o", "trainer.max_epochs=2")
    assert state_of("o")["metrics.csv"] == state_of("whole")["metrics.csv"]


def test_the_last_checkpoint_is_the_newest_even_with_fewer_steps():
    """A run that was sent back to an earlier state goes on from where it is now."""
    run("out=o", *IMPROVING)
    run("out=p", *IMPROVING, "trainer.max_epochs=1")
    Path("p/checkpoints/last.ckpt").replace("o/checkpoints/last.ckpt")
    assert newest_intact(Path("o/checkpoints")) == (Path("o/checkpoints/last.ckpt"), [])


def test_a_best_checkpoint_that_has_gone_is_not_tested(capsys):
    run("out=o", *IMPROVING, "trainer.max_epochs=1")
    content = checkpoint("o")
    content["callbacks"]["BestCheckpoint"]["step"] = 3
    for name in ("last", "best"):
        Path(f"o/checkpoints/{name}.ckpt").unlink()
    torch.save(content, "o/checkpoints/last.ckpt")
    Path("o/checkpoints/best.ckpt").write_bytes(b"broken")
    resume("o")
    assert "best.ckpt is not the best checkpoint so far" in capsys.readouterr().err
    assert json.loads(Path("o/summary.json").read_text())["best_epoch"] is None


def test_a_checkpoint_without_a_format_number_is_of_the_first_format():
    """As versions before the number wrote them: best.ckpt a file of its own, nothing about metrics.csv."""
    run("out=whole", *IMPROVING)
    run("out=o", *IMPROVING, "trainer.max_epochs=1")
    for name in ("last", "best"):
        content = checkpoint("o", name)
        del content["format"], content["metrics"]
        best = content["callbacks"].pop("BestCheckpoint")
        state = {"written": best["written"], "score": torch.tensor(best["score"])}
        content["callbacks"]["BestCheckpoint{'monitor': 'val/accuracy_first', 'mode': 'max'}"] = state
        Path(f"o/checkpoints/{name}.ckpt").unlink()
        torch.save(content, f"o/checkpoints/{name}.ckpt")
    resume("o", "trainer.max_epochs=2")
    assert state_of("o") == state_of("whole")


def test_a_later_format_is_refused():
    run("out=o", "trainer.max_epochs=1")
    torch.save({**checkpoint("o"), "format": 3}, "later.ckpt")
    with pytest.raises(UserError, match="format 3 is of a later version"):
        read_checkpoint(Path("later.ckpt"))


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


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
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
        monkeypatch.setattr("app.resume.stop_signals.AGAIN_S", 0.0)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    cut_in(monkeypatch, SpikingModule, "training_step", 3, twice)
    with pytest.raises(Interrupted, match="second time"):
        run("out=o")
    assert checkpoint("o")["global_step"] == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("place", ["the test", "the summary", "the picture"])
def test_a_signal_after_training_says_that_all_is_safe(place, signum, monkeypatch):
    run("out=whole")
    places = {"the test": PLACES["the test"], "the summary": (summary, "finish", 1)}
    places["the picture"] = (raster, "spike_panels", 1)
    with monkeypatch.context() as patch:
        cut_in(patch, *places[place], lambda: os.kill(os.getpid(), signum))
        with pytest.raises(Interrupted) as stop:
            run("out=part", "probes.raster=true")
    assert stop.value.exit_code == 128 + signum
    assert "training is over and saved; go on with: python train.py ckpt=last out=part" in str(stop.value)
    resume("part")
    assert state_of("part") == state_of("whole")


def test_a_hangup_that_nohup_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    cut_in(monkeypatch, SpikingModule, "training_step", 3, lambda: os.kill(os.getpid(), signal.SIGHUP))
    run("out=o")
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


def test_signals_are_given_back(monkeypatch):
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run("out=o")
    cut_in(monkeypatch, SpikingModule, "training_step", 3, cut)
    with pytest.raises(Cut):
        run("out=p")
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


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
    child = group(sys.executable, TRAIN, *fast("trainer.max_epochs=10000", "out=o"))
    while not (out / "checkpoints/last.ckpt").exists():
        time.sleep(0.05)
        assert child.process.poll() is None
    child.process.send_signal(signum)
    (printed,) = outputs_of([child])
    assert child.process.returncode == code
    assert "go on with: python train.py ckpt=last out=o" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_selftest_with_real_kills(capsys):
    assert selftest.main(["resume", "--kills", "1", "trainer.max_epochs=6"]) == 0
    printed = capsys.readouterr().out
    assert "1 kill: nothing was lost" in printed
    assert "DIFFERENT" not in printed
