"""A run has its folder for itself, whoever else starts there, whatever a shell still says about ranks."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import train
from app.errors import UserError, run_command
from app.lock import NAME, Busy, Lock
from app.training.folder import new_folder
from tests.support import ROOT
from tests.support.run_tools import FAST, checkpoint, resume, run

TWELVE = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import train
from app.errors import run_command
from app.training import build, start, summary
gate, opened = os.pipe()
children = []
for _ in range(12):
    if (pid := os.fork()) == 0:
        os.close(opened)
        os.read(gate, 1)  # all start when the parent closes its end
        run_command(train.main)
    children.append(pid)
os.close(opened)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""
"""Twelve starts at the same moment, in processes that have imported everything already."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def sentence_of(argv, monkeypatch, capsys) -> tuple[int, str]:
    """Exit code and what is said on stderr."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    with pytest.raises(SystemExit) as leaving:
        run_command(train.main)
    return leaving.value.code, capsys.readouterr().err.strip()


# --- two runs in one folder -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_twelve_starts_at_once_get_twelve_folders():
    short = [a for a in FAST if not a.startswith(("trainer.limit_train_batches", "trainer.max_epochs"))]
    argv = [*short, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "engine=reference"]
    done = subprocess.run([sys.executable, "-c", TWELVE, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folders = sorted(map(str, Path("runs").iterdir()))  # their output is mixed within lines
    name = "runs/digits-antlr-latency-s0"
    assert folders == sorted([name, *(f"{name}-{k}" for k in range(2, 13))])
    for folder in folders:
        names = {path.name for path in Path(folder).iterdir()}
        assert names == {"config.yaml", "metrics.csv", "summary.json", "checkpoints"}
        assert yaml.safe_load(Path(folder, "config.yaml").read_text())["out"] == folder
        assert checkpoint(folder)["config"]["out"] == folder


def test_a_folder_in_use_is_refused_with_its_holder(monkeypatch, capsys):
    Path("o").mkdir()
    lock = Lock(Path("o"))
    code, message = sentence_of([*FAST, "out=o"], monkeypatch, capsys)
    assert (code, f"taken by process {os.getpid()}" in message) == (2, True)
    lock.release()
    assert not any(Path("o").iterdir())


@pytest.mark.parametrize("ckpt", ["last", "o", "o/checkpoints/last.ckpt"])
def test_a_live_run_cannot_be_gone_on_with(ckpt, monkeypatch, capsys):
    run("out=o", "trainer.max_epochs=1")
    before = {path: path.read_bytes() for path in Path("o").rglob("*") if path.is_file()}
    lock = Lock(Path("o"))
    code, message = sentence_of([f"ckpt={ckpt}", *(["out=o"] if ckpt == "last" else [])], monkeypatch, capsys)
    lock.release()
    assert (code, f"still at work there (process {os.getpid()})" in message) == (2, True)
    assert {path: path.read_bytes() for path in Path("o").rglob("*") if path.is_file()} == before
    resume("o", "trainer.max_epochs=2")


def test_a_killed_holder_holds_nothing_and_its_forks_do_not_either():
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from app.lock import Lock\n"
        "lock = Lock(Path('.'))\n"
        "if os.fork() == 0:\n"
        "    print('held', flush=True)\n"  # by the fork, which has let go of the lock by then
        "    sys.stdin.read(); os._exit(0)\n"
        "time.sleep(1000)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(Busy, match=f"process {child.pid}"):
        Lock(Path())
    child.kill()
    child.wait()  # its fork lives on, until its input ends
    Lock(Path()).release()
    child.stdin.close()
    child.stdout.close()
    assert not Path(NAME).exists()


def test_the_lock_of_windows(monkeypatch):
    """Its locks are on bytes, and open files cannot be deleted there."""
    from types import SimpleNamespace

    from app import lock as module

    locked = set()

    def locking(handle, mode, count):
        place = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR)
        if place in locked:
            raise OSError(36, "Resource deadlock avoided")
        locked.add(place)

    monkeypatch.setattr(module, "fcntl", None)
    monkeypatch.setattr(module, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    lock = Lock(Path())
    with pytest.raises(Busy, match=f"process {os.getpid()}"):
        Lock(Path())
    lock.release()
    assert not Path(NAME).exists()


def test_two_runs_that_look_at_the_same_moment(monkeypatch):
    """The look and the lock are two moments: a run that came and went between them keeps its folder."""
    from app.training import folder

    answers = iter([False, True])
    monkeypatch.setattr(folder, "holds_run", lambda path: next(answers, False))
    taken = new_folder(Path("o"), named=False)
    assert taken.path == Path("o")
    assert next(answers, None) is None
    taken.give_back(unused=True)


def test_a_run_never_goes_on_in_the_folder_of_another(monkeypatch, capsys):
    run("out=a", "trainer.max_epochs=1")
    run("out=b", "trainer.max_epochs=1", "seed=1")
    before = Path("b/checkpoints/last.ckpt").read_bytes()
    argv = ["ckpt=a/checkpoints/last.ckpt", "out=b", "trainer.max_epochs=2"]
    code, message = sentence_of(argv, monkeypatch, capsys)
    assert (code, "out=b already holds a run" in message) == (2, True)
    assert Path("b/checkpoints/last.ckpt").read_bytes() == before
    Path("a/checkpoints/last.ckpt").rename("moved.ckpt")
    code, message = sentence_of(["ckpt=moved.ckpt", "trainer.max_epochs=2"], monkeypatch, capsys)
    assert (code, "lies in no run's folder" in message) == (2, True)
    assert train.main(["ckpt=moved.ckpt", "out=c", "trainer.max_epochs=2"]) == 0


def test_a_checkpoint_that_changes_while_it_is_read_is_refused(monkeypatch):
    from app.training import start

    run("out=o", "trainer.max_epochs=1")
    begun = start.prepare(["ckpt=last", "out=o", "trainer.max_epochs=2"])
    os.utime("o/checkpoints/last.ckpt", ns=(1, 1))
    from app.training.build import build_run

    with pytest.raises(UserError, match="has just changed"), build_run(begun).opened():
        pass


# --- refusals leave nothing behind ------------------------------------------------------------------------------------


def test_what_is_refused_while_training_begins_leaves_nothing_behind(monkeypatch, capsys):
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from app.training.module import SpikingModule

    def refuse(self):
        raise MisconfigurationException("no such\ncombination")

    monkeypatch.setattr(SpikingModule, "configure_optimizers", refuse)
    code, message = sentence_of([*FAST, "out=deep/er/o"], monkeypatch, capsys)
    assert (code, "Lightning refuses this combination: no such combination" in message) == (2, True)
    assert not list(Path.cwd().iterdir())
    Path("o").mkdir()
    Path("o/mine.txt").write_text("kept")
    assert sentence_of([*FAST, "out=o"], monkeypatch, capsys)[0] == 2
    assert Path("o/mine.txt").read_text() == "kept"


# --- ranks ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder with a run."""
    folder, before = tmp_path_factory.mktemp("held"), Path.cwd()
    os.chdir(folder)
    try:
        run("out=o", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    finally:
        os.chdir(before)
    return folder / "o"


SLURM = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_LOCALID": "1",
         "SLURM_NODEID": "0"}  # fmt: skip
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
            "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}  # fmt: skip
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "argv", "said"),
    [
        ({"RANK": "1"}, [], "already holds a run"),
        ({"RANK": ""}, [], "RANK='' is no whole number"),
        (SLURM, [], "SLURM has started 2 processes, but trainer.devices=1 and trainer.num_nodes=1 make 1"),
        (TORCHRUN, [], "torchrun has started 2 processes, but trainer.devices=1"),
        ({"LOCAL_RANK": "1"}, TWO, "LOCAL_RANK=1 says that a launcher has started this process"),
        ({"LOCAL_RANK": "3", "MASTER_PORT": "29400"}, TWO, "this process is number 3"),
        ({}, ["trainer.num_nodes=2", "trainer.accelerator=cpu"], "trainer.num_nodes=2 needs a place to meet"),
    ],
    ids=str,
)
def test_a_stray_rank_never_touches_an_old_run(variables, argv, said, held):
    before = {path: path.read_bytes() for path in held.rglob("*") if path.is_file()}
    command = [sys.executable, str(ROOT / "train.py"), *FAST, *argv, f"out={held}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in held.rglob("*") if path.is_file()} == before


def test_a_single_process_with_a_stray_rank_is_the_first(monkeypatch, capsys):
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)  # what an environment variable said on import
    run("out=o", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    assert Path("o/metrics.csv").exists()
    assert rank_zero_only.rank == 0


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "file"])
def test_a_tilde_is_the_home(how, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    Path("mine.yaml").write_text("out: ~/r\n")
    run("trainer.max_epochs=1", *(["out=~/r"] if how == "argument" else ["config=mine.yaml"]))
    assert {"config.yaml", "checkpoints"} <= {path.name for path in (home / "r").iterdir()}
    assert (home / "r/checkpoints/best.ckpt").is_file()
    assert not Path("~").exists()
    assert train.main(["ckpt=~/r", "trainer.max_epochs=2"]) == 0


def test_a_folder_goes_on_as_its_run(capsys):
    run("out=o", "trainer.max_epochs=1")
    assert train.main(["ckpt=o", "trainer.max_epochs=2"]) == 0
    printed = capsys.readouterr().out
    assert "going on from o/checkpoints/last.ckpt at step 8\nengine event_driven on cpu, writing to o\n" in printed
    assert "o: config.yaml, metrics.csv, summary.json, checkpoints/\n" in printed  # no picture, no W&B: none is named
    with pytest.raises(UserError, match="holds no run with a checkpoint"):
        train.main([f"ckpt={Path.cwd()}"])


def test_a_trained_network_is_loaded_by_a_name():
    from app.training.trained import load_trained

    run("out=o", "trainer.max_epochs=1")
    assert load_trained("o").epochs == 1
    assert load_trained("o/checkpoints/last.ckpt").config.out == "o"


@pytest.mark.parametrize(("key", "limit"), [("max_epochs", 1), ("max_steps", 9)])
def test_a_length_below_what_was_done_is_refused(key, limit, monkeypatch, capsys):
    run("out=o", "trainer.max_epochs=2")
    code, message = sentence_of(["ckpt=last", "out=o", f"trainer.{key}={limit}"], monkeypatch, capsys)
    assert (code, f"trainer.{key}={limit} is less than the" in message) == (2, True)


# --- devices ----------------------------------------------------------------------------------------------------------


def test_apples_gpu_is_not_chosen(monkeypatch, capsys):
    from lightning.pytorch.accelerators import MPSAccelerator

    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    run("out=o", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    for name in ("mps", "gpu"):
        code, message = sentence_of([*FAST, "out=p", f"trainer.accelerator={name}"], monkeypatch, capsys)
        assert (code, "no 64-bit numbers" in message) == (2, True)
    assert not Path("p").exists()


# --- processes that load data -----------------------------------------------------------------------------------------


def test_a_killed_worker_is_one_sentence(monkeypatch, capsys):
    """Where what PyTorch raises is lost in somebody's destructor, the loader's patience ends."""
    from app.data import loader
    from app.training.module import SpikingModule

    step = SpikingModule.training_step

    def training_step(self, *args):
        if self.global_step == 5:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
        return step(self, *args)

    monkeypatch.setattr(loader, "WORKER_S", 10.0)
    monkeypatch.setattr(SpikingModule, "training_step", training_step)
    code, message = sentence_of([*FAST, "out=o", "data.num_workers=1"], monkeypatch, capsys)
    assert (code, "a process that loads data has failed" in message) == (1, True), message
    errors = [line for line in message.splitlines() if not line.startswith(("warning: ", "compiling "))]
    assert len(errors) == 1, message
    monkeypatch.undo()


@pytest.mark.parametrize("closing_fails", [False, True])
def test_a_worker_that_is_lost_while_a_checkpoint_is_written_is_no_full_disk(closing_fails, monkeypatch, capsys):
    """PyTorch raises it wherever the program is, and its archive, left open, complains of that."""
    from app.resume import checkpoint as module

    def lost(*args):
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
        finally:
            if closing_fails:
                raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(module.torch, "save", lost)
    code, message = sentence_of([*FAST, "out=o"], monkeypatch, capsys)
    assert (code, "a process that loads data has failed" in message) == (1, True), message


def test_a_worker_that_does_not_answer_is_one_sentence(monkeypatch, capsys):
    from app.data import loader
    from app.training.module import SpikingModule

    step, stopped = SpikingModule.training_step, []

    def training_step(self, *args):
        if self.global_step == 5 and not stopped:
            stopped.extend(worker.pid for worker in multiprocessing.active_children())
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
        return step(self, *args)

    monkeypatch.setattr(loader, "WORKER_S", 2.0)
    monkeypatch.setattr(SpikingModule, "training_step", training_step)
    code, message = sentence_of([*FAST, "out=o", "data.num_workers=1"], monkeypatch, capsys)
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    assert (code, "DataLoader timed out after 2.0 seconds" in message) == (1, True)


def test_workers_use_no_shared_memory_for_batches_and_deliver_the_same():
    import pickle

    import torch

    from app.data.loader import _packed
    from app.events import Batch, SpikeEvents

    batch = Batch(SpikeEvents.from_dense((torch.rand(9, 3, 5) < 0.3).float()), torch.tensor([1, 2, 3]))
    again = pickle.loads(_packed(batch))
    assert torch.equal(again.events.to_dense(), batch.events.to_dense())
    assert torch.equal(again.label_B, batch.label_B)
    assert again.events.offsets_B1.dtype == batch.events.offsets_B1.dtype
    again.label_B.add_(1)  # the numbers are its own, and may be written


def test_full_shared_memory_is_refused_before_a_folder_is_taken(monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(multiprocessing, "Queue", full)
    code, message = sentence_of([*FAST, "out=o", "data.num_workers=2"], monkeypatch, capsys)
    assert (code, "data.num_workers=2: no shared memory" in message) == (2, True)
    assert not Path("o").exists()
