"""Two processes on the CPU (gloo, DDP) are one run: same gradients, same metrics, one set of files, no hanging."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

from app.config import from_dict
from app.training.build import build_module
from reliability import __main__ as selftest
from reliability.bench import STUCK_S, Bench
from reliability.dying_processes import DDP, DEATH_S, has_gone, one_of_two_dies, second_process
from reliability.patience import group, outputs_of
from tests.support import ROOT
from tests.support.run_tools import checkpoint, fast, rows, run
from tests.support.two_ranks import TRAIN, free_port, two_ranks

pytestmark = pytest.mark.slow
IMPATIENT = str(ROOT / "tests/support/impatient_run.py")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def train(*argv: str) -> str:
    child = group(sys.executable, TRAIN, *argv)
    (printed,) = outputs_of([child])
    assert child.process.returncode == 0, printed
    assert printed.count("Reading the test split") <= 1
    return printed


def train_two(*argv: str) -> None:
    codes, printed = two_ranks(*argv)
    assert codes == [0, 0], printed


def gradient(out: str) -> torch.Tensor:
    """What one step of SGD with learning rate 1 subtracted from the starting weights."""
    content = checkpoint(out)
    torch.manual_seed(content["config"]["seed"])
    import lightning as L

    L.seed_everything(content["config"]["seed"], verbose=False)
    start = dict(build_module(from_dict(content["config"])).network.named_parameters())
    stepped = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    return torch.cat([(start[name].detach() - stepped[name]).flatten() for name in start])


@pytest.mark.parametrize("loss", ["latency", "spike_train"])
def test_gradients_equal_those_of_the_doubled_batch(loss):
    """The latency loss weighs a batch by its silent samples; rules know nothing of processes."""
    step = ["optim.name=sgd", "optim.lr=1", "optim.grad_clip=null", "trainer.limit_val_batches=0"]
    step += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "init_bias_center=1", f"loss={loss}"]
    run(*step, "out=one", "data.batch_size=32")
    train_two(*fast(*step, "out=two", "data.batch_size=16"))
    one, two = gradient("one"), gradient("two")
    assert one.norm() > 0
    assert (one - two).norm() <= 1e-6 * one.norm()


@pytest.mark.parametrize("engine", ["layerwise", "triton"])
def test_every_engine_on_two_processes(engine, monkeypatch):
    """Gradients of the doubled batch, the same numbers after going on; all other tests here run event_driven."""
    if engine == "triton":
        pytest.importorskip("triton", reason="Triton is not installed; see requirements-dev.txt")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    small = ["network=[64,fc6,fc10]", "init_bias_center=1", "optim.name=sgd", "optim.lr=1", "optim.grad_clip=null"]
    small += ["trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    small += [f"engine={engine}", "data.eval_batch_size=8"]
    run(*small, "trainer.max_epochs=1", "data.batch_size=8", "out=one")
    train_two(*fast(*small, "trainer.max_epochs=1", "data.batch_size=4", "out=two"))
    one, two = gradient("one"), gradient("two")
    assert one.norm() > 0
    assert (one - two).norm() <= 1e-6 * one.norm()
    if engine == "triton":
        return  # going on is the same work for any engine
    train_two("ckpt=last", "out=two", "trainer.max_epochs=2")
    train_two(*fast(*small, "trainer.max_epochs=2", "data.batch_size=4", "out=whole"))
    assert rows("two")[-1] == rows("whole")[-1]
    for name, value in checkpoint("whole")["state_dict"].items():
        assert torch.equal(checkpoint("two")["state_dict"][name], value), name


def test_validation_metrics_are_the_same_and_there_is_one_run():
    still = ["optim.lr=1e-12", "trainer.max_epochs=1", "tracking.mode=offline", "trainer.limit_train_batches=1"]
    run(*still, "out=one", "data.batch_size=32")
    printed = train(*fast(*still, "out=two", "data.batch_size=16", *DDP))
    one, two = rows("one"), rows("two")
    assert len(one) == len(two) == 2
    for row, other in zip(one, two, strict=True):
        for name, value in row.items():
            if name.startswith(("val/", "test/")) and value:
                assert other[name] == value, name
    assert len(list(Path("two/wandb").glob("offline-run-*"))) == 1, printed
    names = {
        str(path.relative_to("two")) for path in Path("two").rglob("*") if path.is_file() and "wandb" not in str(path)
    }
    assert names == {"config.yaml", "metrics.csv", "summary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
                     "checkpoints/previous.ckpt"}  # fmt: skip


@pytest.mark.parametrize("victim", [0, 1])
def test_a_dying_process_ends_the_job_with_a_message(victim, tmp_path):
    bench = Bench(tmp_path)
    ended, gone, step = one_of_two_dies(bench, victim)
    assert ended.code not in (0, None)
    assert ended.seconds < DEATH_S
    assert gone
    assert "one of them has ended; go on with: python train.py ckpt=last out=" in ended.printed or (
        victim and "terminated with code" in ended.printed
    )
    train("ckpt=last", f"out=rank{victim}", f"trainer.max_steps={step + 3}")


def test_sigterm_to_the_first_process_saves_and_stops_both(tmp_path):
    with Bench(tmp_path).begun("o", "trainer.max_epochs=100000", *DDP) as child:
        second = second_process(child)
        assert child.end(signal.SIGTERM, STUCK_S) == 143
        assert has_gone(second, STUCK_S)
    assert child.printed().count("go on with: python train.py ckpt=last out=") == 1
    assert "Traceback" not in child.printed()


def test_killed_and_resumed_on_two_processes(capsys):
    assert selftest.main(["resume", "--kills", "1", "--devices", "2", "trainer.max_epochs=6"]) == 0
    assert "1 kill: nothing was lost" in capsys.readouterr().out


NODES = ("trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=1", "trainer.num_nodes=2")


def check_two_nodes(commands: list[list[str]], environments: list[dict[str, str]]) -> None:
    """Start a process on each of two "nodes" of this machine; together they are one run on two processes."""
    children = [group(*c, env=os.environ | e) for c, e in zip(commands, environments, strict=True)]
    printed = outputs_of(children)
    assert [child.process.returncode for child in children] == [0, 0], printed
    assert "accuracy by first spike" in printed[0]
    assert "accuracy by first spike" not in printed[1]
    train_two(*fast("out=two"))
    assert rows("nodes") == rows("two")


def test_the_launch_line_of_torchrun_with_two_nodes_of_one_process():
    line = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    line += [f"--master-port={free_port()}"]
    nodes = fast("out=nodes", *NODES)
    commands = [[sys.executable, *line, f"--node-rank={rank}", TRAIN, *nodes] for rank in (0, 1)]
    check_two_nodes(commands, [{}, {}])


def test_the_launch_line_of_slurm_with_two_nodes_of_one_process():
    """What srun tells its processes, without SLURM."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    job |= {"SLURM_NNODES": "2", "SLURM_NODELIST": "localhost", "SLURM_LOCALID": "0", "MASTER_PORT": str(free_port())}
    nodes = [{**job, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)} for rank in (0, 1)]
    check_two_nodes([[sys.executable, TRAIN, *fast("out=nodes", *NODES)]] * 2, nodes)


# --- processes that do not find one another ---------------------------------------------------------------------------


def alone(limit_s: float, *argv: str, **variables: str):
    """A process of a run whose others never come."""
    command = [sys.executable, IMPATIENT, str(limit_s), *fast("out=o", *argv)]
    return group(*command, env=os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} | variables)


@pytest.mark.parametrize(("launcher", "rank"), [("NODE_RANK", 0), ("NODE_RANK", 1), ("LOCAL_RANK", 1)])
def test_a_process_whose_partner_never_comes_ends_with_a_sentence(launcher, rank):
    devices = NODES if launcher == "NODE_RANK" else DDP
    child = alone(2, *devices, **{launcher: str(rank), "WORLD_SIZE": "2", "RANK": str(rank)})
    (printed,) = outputs_of([child])
    assert child.process.returncode == 1, printed
    assert f"process {rank} of 2 has waited 2 s at 127.0.0.1:" in printed
    assert "Traceback" not in printed
    assert not Path("o").exists()


def test_waiting_for_a_partner_gives_way_to_a_signal():
    child = alone(1000, *DDP, LOCAL_RANK="1", WORLD_SIZE="2")
    while "process 1 of 2" not in (said := child.log.read_text()):
        assert child.process.poll() is None, said
        time.sleep(0.05)
    assert "waiting for the others" in said
    child.process.send_signal(signal.SIGTERM)
    (printed,) = outputs_of([child])
    assert child.process.returncode == 143, printed


def test_an_unknown_address_and_a_port_in_use_are_refused_at_once():
    child = alone(1000, *NODES, NODE_RANK="1", MASTER_ADDR="nowhere.invalid")
    (printed,) = outputs_of([child])
    assert (child.process.returncode, "MASTER_ADDR=nowhere.invalid is no machine" in printed) == (2, True), printed
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = str(other.getsockname()[1])
        child = alone(1000, *DDP, MASTER_PORT=port)
        (printed,) = outputs_of([child])
    assert (child.process.returncode, f"MASTER_PORT={port} is in use" in printed) == (2, True), printed
    assert not Path("o").exists()


BROKEN = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import torch, train
from app.errors import run_command
from app.training.module import SpikingModule
step = SpikingModule.training_step
def broken(self, batch, index):
    if index == 2 and self.global_rank == int(os.environ["BROKEN"]):
        torch.zeros(2) @ torch.zeros(3)
    return step(self, batch, index)
SpikingModule.training_step = broken
run_command(train.main)
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_process_keeps_its_own_words(rank):
    Path("broken.py").write_text(BROKEN)
    child = group(sys.executable, "broken.py", *fast("out=o", *DDP), env=os.environ | {"BROKEN": str(rank)})
    (printed,) = outputs_of([child])
    assert child.process.returncode not in (0, None)
    assert f"process {rank} failed in step 2 (RuntimeError: inconsistent tensor size" in printed
    assert "Traceback" not in printed
    assert "in broken\n    torch.zeros(2) @" in Path(f"o/error-process{rank}.txt").read_text()
