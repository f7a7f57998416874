"""Faults that must not cost a run: damaged checkpoints, other settings or data, full disks, missing rights."""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from app import files, tracking
from app.errors import RunStopped, run_command
from app.resume import checkpoint as checkpoint_module
from app.resume.checkpoint import newest_intact, read_checkpoint
from app.training.module import SpikingModule
from reliability import damaged_checkpoints, lost_disks
from reliability.bench import Bench
from reliability.digest import digest
from reliability.lost_tracking import services_of
from tests.support.run_tools import FAST, checkpoint, resume, run, state_of

FOLDER = Path("o/checkpoints")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run, made once."""
    folder = tmp_path_factory.mktemp("finished")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("out=o", "trainer.limit_train_batches=3")
    finally:
        os.chdir(before)
    return folder / "o"


def sentence_of(argv, monkeypatch, capsys) -> tuple[int, str]:
    """Exit code and the one line on stderr that is no warning."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    with pytest.raises(SystemExit) as leaving:
        run_command(train.main)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if not line.startswith(("warning: ", "Downloading "))
    ]
    assert len(lines) == 1, lines
    return leaving.value.code, lines[0]


# --- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        damaged_checkpoints.truncated,
        damaged_checkpoints.changed,
        damaged_checkpoints.with_code,
        damaged_checkpoints.odd_tensors,
    ],
)
def test_damaged_and_harmful_files_are_refused(fault, finished, tmp_path):
    bench = Bench(tmp_path)
    bench.whole = finished
    outcome = fault(bench)
    assert outcome.survived, outcome


def test_weights_alone_cannot_be_trained_on(finished, monkeypatch, capsys):
    content = read_checkpoint(finished / "checkpoints/last.ckpt")
    del content["optimizer_states"]
    torch.save(content, "weights.ckpt")
    code, message = sentence_of(["ckpt=weights.ckpt"], monkeypatch, capsys)
    assert (code, "cannot be trained" in message or "not trained on" in message) == (2, True)


@pytest.mark.parametrize("damage", [b"", b"half", None], ids=["empty", "garbage", "truncated"])
def test_last_falls_back_to_the_newest_intact_one(damage, monkeypatch, capsys):
    run("out=whole")
    run("out=o", "trainer.max_epochs=1")
    last = FOLDER / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000] if damage is None else damage)
    resume("o", "trainer.max_epochs=2")
    printed = capsys.readouterr()
    assert "o/checkpoints/last.ckpt is damaged and was set aside; going on from o/checkpoints/" in printed.err
    assert state_of("o") == state_of("whole")
    assert (FOLDER / "last.ckpt.damaged").exists()


def test_without_an_intact_one_last_is_refused_and_nothing_is_deleted(monkeypatch, capsys):
    run("out=o")
    for path in FOLDER.iterdir():
        path.write_bytes(b"broken")
    code, message = sentence_of(["ckpt=last", "out=o"], monkeypatch, capsys)
    assert (code, "no checkpoint is intact" in message) == (2, True)
    assert len(list(FOLDER.iterdir())) == 3


def test_the_previous_checkpoint_is_kept_and_there_is_a_last_one_all_the_time(monkeypatch):
    seen = []
    save = checkpoint_module.torch.save

    def looking(*args):
        seen.append(sorted(path.name for path in FOLDER.iterdir() if path.suffix == ".ckpt"))
        save(*args)

    monkeypatch.setattr(checkpoint_module.torch, "save", looking)
    run("out=o", "trainer.max_epochs=1")
    assert seen[1] == ["last.ckpt", "previous.ckpt"]
    assert all("last.ckpt" in names for names in seen[1:])
    steps = [checkpoint("o", name)["global_step"] for name in ("previous", "last")]
    assert steps == [8, 8]
    assert newest_intact(FOLDER)[0].name == "last.ckpt"


def test_without_hard_links_the_previous_one_is_kept_too(monkeypatch):
    def unsupported(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    run("out=o")
    assert read_checkpoint(FOLDER / "previous.ckpt")["global_step"] == 16


# --- other settings, other data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting", ["optim.lr=0.5", "optim.name=sgd", "network=[64,fc30,fc10]", "optim.weight_decay=1"]
)
def test_settings_that_the_checkpoint_holds_are_refused(setting, monkeypatch, capsys):
    run("out=o", "trainer.max_epochs=1")
    code, message = sentence_of(["ckpt=last", "out=o", setting], monkeypatch, capsys)
    assert code == 2
    assert f"{setting.split('=')[0]}=" in message
    assert "which holds" in message


def test_fewer_epochs_than_were_trained_are_refused(monkeypatch, capsys):
    run("out=o", "trainer.max_epochs=3", "trainer.limit_train_batches=2")
    code, message = sentence_of(["ckpt=last", "out=o", "trainer.max_epochs=1"], monkeypatch, capsys)
    assert (code, "trainer.max_epochs=1" in message) == (2, True)


def test_other_settings_are_named_and_harmless_ones_are_not(capsys):
    run("out=o", "trainer.max_epochs=1", "learning.lambda_tim=1")
    capsys.readouterr()
    resume("o", "trainer.max_epochs=2", "learning.lambda_tim=0.5", "data.num_workers=0", "checkpoint_every_s=7")
    printed = capsys.readouterr().err
    assert "going on with other settings than the checkpoint: learning.lambda_tim 1.0 → 0.5\n" in printed
    assert printed.count("warning") == 1


def test_other_data_and_other_code_are_named(monkeypatch, capsys):
    import sklearn.datasets

    run("out=o", "trainer.max_epochs=1")
    load = sklearn.datasets.load_digits

    def other():
        digits = load()
        digits.data = np.where(digits.data > 8, 16.0, digits.data)
        return digits

    capsys.readouterr()
    monkeypatch.setattr(sklearn.datasets, "load_digits", other)
    monkeypatch.setattr("app.training.build.code_version", lambda: "9.9.9")
    resume("o", "trainer.max_epochs=2")
    printed = capsys.readouterr().err
    assert "going on with another data (" in printed
    assert "going on with another code version (9.9.9) than the checkpoint" in printed


def test_vanished_data_is_one_sentence(shared_dir, monkeypatch, capsys):
    shutil.copytree(shared_dir / "data/MNIST", "data/MNIST")
    mnist = ["task=mnist", "network=[784,fc10]", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    run("out=o", "trainer.limit_test_batches=1", *mnist)
    before = checkpoint("o")
    shutil.rmtree("data")
    code, message = sentence_of(["ckpt=last", "out=o", "trainer.max_epochs=3"], monkeypatch, capsys)
    assert (code, "data.root" in message) == (2, True)
    assert digest(checkpoint("o")["state_dict"]) == digest(before["state_dict"])


# --- full disks and missing rights ------------------------------------------------------------------------------------


def no_space(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", [1, 5, 6, 11])
def test_a_full_disk_stops_with_a_sentence_and_the_run_goes_on_later(call, monkeypatch):
    run("out=whole")
    calls, fsync = [], os.fsync
    with monkeypatch.context() as patch:

        def full_later(handle):
            calls.append(1)
            return no_space() if len(calls) >= 20 + call else fsync(handle)

        patch.setattr(files.os, "fsync", full_later)
        with pytest.raises(RunStopped, match="No space left on device"):
            run("out=o")
    assert not list(Path("o").rglob("*.part"))
    assert all(read_checkpoint(path) for path in FOLDER.iterdir())
    resume("o")
    assert state_of("o") == state_of("whole")


@pytest.mark.slow
def test_real_disks_that_fail(tmp_path):
    """The real things: a limit of the system, a tiny disk, folders that are read-only."""
    bench = Bench(tmp_path)
    faults = [lost_disks.size_limit, *(lost_disks.FAULTS_IN_NAMESPACES if lost_disks.namespaces() else [])]
    for fault in faults:  # of one undisturbed run
        outcome = fault(bench)
        assert outcome.survived, outcome
    if len(faults) == 1:
        pytest.skip("this system lets users mount nothing; the limit of the system was tried")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence(monkeypatch, capsys):
    run("out=o", "trainer.max_epochs=1")
    Path("o").chmod(0o555)
    code, message = sentence_of(["ckpt=last", "out=o", "trainer.max_epochs=2"], monkeypatch, capsys)
    Path("o").chmod(0o755)
    assert (code, "out=o cannot be written" in message) == (2, True)


def test_a_folder_that_becomes_read_only_is_one_sentence(monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system", "o/checkpoints/last.ckpt")

    original, calls = SpikingModule.training_step, []

    def training_step(self, *args):
        calls.append(1)
        if len(calls) == 5:
            monkeypatch.setattr(checkpoint_module, "give_second_name", refuse)
        return original(self, *args)

    monkeypatch.setattr(SpikingModule, "training_step", training_step)
    code, message = sentence_of([*FAST, "out=o"], monkeypatch, capsys)
    assert code == 1
    assert "Read-only file system" in message
    assert "go on with ckpt=last" in message
    assert checkpoint("o")["global_step"] == 4


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extreme",
    [
        ["neuron.alpha_v=0", "neuron.alpha_i=0"],
        ["neuron.alpha_v=1", "neuron.alpha_i=1"],
        ["neuron.alpha_v=0", "neuron.alpha_i=1", "rule=activation"],
        ["time_steps=1", "data.latency_max_steps=0", "loss=latency"],
        ["time_steps=1", "data.latency_max_steps=0", "rule=activation", "loss=count"],
        ["time_steps=3000", "trainer.limit_test_batches=1", "data.batch_size=4", "data.eval_batch_size=8"],
        [
            "time_steps=3000",
            "trainer.limit_test_batches=1",
            "data.batch_size=4",
            "data.eval_batch_size=8",
            "rule=timing",
        ],
        ["neuron.threshold=1e-6", "init_bias_center=1000"],
        ["neuron.threshold=1e-6", "init_bias_center=1000", "rule=activation", "loss=spike_train"],
        ["neuron.threshold=1e9"],
        ["neuron.threshold=1e9", "rule=timing"],
        ["neuron.threshold=1e9", "rule=activation", "learning.variant=slayer"],
        ["init_bias_center=1000000"],
    ],
    ids=lambda argv: ",".join(argv)[:70],
)
def test_extreme_settings_train_and_stay_finite(extreme):
    given = {argument.split("=")[0] for argument in extreme}
    few = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.max_epochs=1", "engine=reference"]
    run("out=o", *(a for a in few if a.split("=")[0] not in given), *extreme)
    assert all(torch.isfinite(value).all() for value in checkpoint("o")["state_dict"].values())


@pytest.mark.parametrize("rule", ["activation", "timing", "antlr"])
@pytest.mark.parametrize("size", [1e6, -1e6])
def test_weights_of_a_million_and_empty_input(rule, size):
    """All neurons fire at every step they can, or none does; no input spike at all in one sample."""
    from app.config import load_config
    from app.events import SpikeEvents
    from app.training.build import build_module

    config = load_config(
        [f"rule={rule}", "network=[64,fc20,fc10]", "time_steps=30", "loss=spike_train", "engine=reference"]
    )
    module = build_module(config)
    dense_TBN = torch.zeros(30, 3, 64)
    dense_TBN[:, 0], dense_TBN[3, 1] = 1, 1
    with torch.no_grad():
        for layer in module.network.spiking:
            layer.weight.fill_(size)
    output = module.network(SpikeEvents.from_dense(dense_TBN))
    (output.spikes_TBN.sum() + output.times_TBN.sum()).backward()
    assert (output.spikes_TBN.sum() > 0) == (size > 0)
    assert output.spikes_TBN[:, 2].sum() == 0
    for layer in module.network.spiking:
        assert torch.isfinite(layer.weight.grad).all()


# --- W&B's service ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("filler", [0, 300], ids=["held up at the end", "held up while training"])
def test_a_stopped_service_of_wandb_holds_nothing_up(filler, monkeypatch, capsys):
    """SIGSTOP: the service is there and takes nothing; first the socket fills, at the latest the end waits."""
    monkeypatch.setattr(tracking, "ANSWER_SECONDS", 5.0)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 1.0)
    step, stopped = SpikingModule.training_step, []

    def training_step(self, *args):
        if self.global_step == 5 and not stopped:
            stopped.extend(services_of(os.getpid()))
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            for k in range(filler):
                row = {f"filler{k}/{name}": 0.0 for name in range(300)}
                self.trainer.loggers[-1].log_metrics(row, self.global_step)
        return step(self, *args)

    monkeypatch.setattr(SpikingModule, "training_step", training_step)
    run("out=o", "tracking.mode=offline")
    assert stopped
    assert not set(stopped) & set(services_of(os.getpid()))  # it was ended
    assert "W&B failed" in capsys.readouterr().err
    assert Path("o/summary.json").exists()
