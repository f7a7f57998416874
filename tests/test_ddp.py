"""Two processes on the CPU (gloo, DDP) are one run: same gradients, same metrics, one set of files, no hanging."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_tools import FAST, checkpoint, rows

from app.config import from_dict
from app.training.build import build_module
from reliability import __main__ as selftest
from reliability.bench import Bench
from reliability.dying_processes import DDP, DEATH_S, has_gone, one_of_two_dies, second_process

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / "train.py")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def arguments(*argv: str) -> list[str]:
    given = {argument.split("=")[0] for argument in argv}
    return [*(a for a in FAST if a.split("=")[0] not in given), *argv]


def train(*argv: str, before: tuple[str, ...] = ()) -> None:
    done = subprocess.run([sys.executable, *before, TRAIN, *argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reading the test split".capitalize()) <= 1


def gradient(out: str) -> torch.Tensor:
    """What one step of SGD with learning rate 1 subtracted from the starting weights."""
    content = checkpoint(out)
    torch.manual_seed(content["config"]["seed"])
    import lightning as L

    L.seed_everything(content["config"]["seed"], verbose=False)
    start = dict(build_module(from_dict(content["config"])).network.named_parameters())
    stepped = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    return torch.cat([(start[name].detach() - stepped[name]).flatten() for name in start])


@pytest.mark.parametrize(
    "rule",
    [["rule=antlr"], ["rule=activation"], ["rule=timing"], ["rule=antlr", "loss=spike_train"]],
    ids=lambda rule: ",".join(rule),
)
def test_gradients_equal_those_of_the_doubled_batch(rule):
    step = ["optim.name=sgd", "optim.lr=1", "optim.grad_clip=null", "trainer.limit_val_batches=0"]
    step += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "init_bias_center=1", *rule]
    train(*arguments(*step, "out=one", "data.batch_size=32"))
    train(*arguments(*step, "out=two", "data.batch_size=16", *DDP))
    one, two = gradient("one"), gradient("two")
    assert one.norm() > 0
    assert (one - two).norm() <= 1e-6 * one.norm()


def test_validation_metrics_are_the_same_and_there_is_one_run():
    still = ["optim.lr=1e-12", "trainer.max_epochs=1", "tracking.mode=offline", "trainer.limit_train_batches=1"]
    train(*arguments(*still, "out=one", "data.batch_size=32"))
    train(*arguments(*still, "out=two", "data.batch_size=16", *DDP))
    one, two = rows("one"), rows("two")
    assert len(one) == len(two) == 2
    for row, other in zip(one, two, strict=True):
        for name, value in row.items():
            if name.startswith(("val/", "test/")) and value:
                assert other[name] == value, name
    assert len(list(Path("two/wandb").glob("offline-run-*"))) == 1
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
        assert child.end(signal.SIGTERM, 30) == 143
        assert has_gone(second, 10)
    assert child.printed().count("go on with: python train.py ckpt=last out=") == 1
    assert "Traceback" not in child.printed()


def test_killed_and_resumed_on_two_processes(capsys):
    assert selftest.main(["resume", "--kills", "2", "--devices", "2", "trainer.max_epochs=10"]) == 0
    assert "2 kills: nothing was lost" in capsys.readouterr().out


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


NODES = ("trainer.accelerator=cpu", "trainer.strategy=ddp", "trainer.devices=1", "trainer.num_nodes=2")


def check_two_nodes(commands: list[list[str]], environments: list[dict[str, str]]) -> None:
    """Start a process on each of two "nodes" of this machine; together they are one run on two processes."""
    children = [
        subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | e)
        for c, e in zip(commands, environments, strict=True)
    ]
    printed = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0], printed
    assert "accuracy by first spike" in printed[0]
    assert "accuracy by first spike" not in printed[1]
    train(*arguments("out=two", *DDP))
    assert rows("nodes") == rows("two")


def test_the_launch_line_of_torchrun_with_two_nodes_of_one_process():
    line = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    line += [f"--master-port={free_port()}"]
    nodes = arguments("out=nodes", *NODES)
    commands = [[sys.executable, *line, f"--node-rank={rank}", TRAIN, *nodes] for rank in (0, 1)]
    check_two_nodes(commands, [{}, {}])


def test_the_launch_line_of_slurm_with_two_nodes_of_one_process():
    """What srun tells its processes, without SLURM."""
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    job |= {"SLURM_NNODES": "2", "SLURM_NODELIST": "localhost", "SLURM_LOCALID": "0", "MASTER_PORT": str(free_port())}
    nodes = [{**job, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)} for rank in (0, 1)]
    check_two_nodes([[sys.executable, TRAIN, *arguments("out=nodes", *NODES)]] * 2, nodes)
