"""Prove that a killed run loses nothing: ``python -m app.selftest resume [--kills 20] [--task mnist] [key=value …]``.

Trains a task once without interruption, then again in child processes that are killed with SIGKILL at random times and
resumed with ``ckpt=last``, and compares weights, optimiser, random states, metrics and best checkpoint bit for bit.
Exit code 1 if anything differs.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from app.checkpoint import BEST, CHECKPOINTS, LAST, newest_intact, read_checkpoint
from app.errors import RunStopped, UserError, run_command
from app.files import PARTIAL
from app.training.folder import CONFIG, has_checkpoints

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
SETTINGS = {
    "digits": ["network=[64,fc20,fc10]", "time_steps=30", "trainer.max_epochs=40", "data.eval_batch_size=16"],
    "mnist": ["network=[784,fc30,fc10]", "trainer.max_epochs=2", "trainer.limit_train_batches=600"],
}
ALWAYS = ["trainer.enable_progress_bar=false", "tracking.mode=disabled", "trainer.log_every_n_steps=10"]
STUCK_S = 600.0
START_S = 5.0
"""About how long a child starts."""
EVERY_S = 0.01
"""A checkpoint so often that kills hit the writing of some."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help shows how to call app.selftest")


def main(argv: list[str]) -> int:
    """Run the test; prints a table of kills and one of hashes."""
    options = _arguments(argv)
    with tempfile.TemporaryDirectory(prefix="antlr-snn-selftest-") as folder:
        return _resume(options, Path(folder))


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = _Parser("python -m app.selftest", description=__doc__)
    parser.add_argument("test", choices=["resume"])
    parser.add_argument("--kills", type=int, default=20, help="how often the child is killed (default 20)")
    parser.add_argument("--task", choices=sorted(SETTINGS), default="digits")
    parser.add_argument("--devices", type=int, default=1, help="processes of the run, joined by DDP on the CPU")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    options, settings = parser.parse_known_args(argv)
    if unknown := [setting for setting in settings if "=" not in setting]:
        parser.error(f"unknown argument {unknown[0]}")
    options.settings = [*SETTINGS[options.task], *ALWAYS, f"task={options.task}", f"checkpoint_every_s={EVERY_S}"]
    if options.devices > 1:
        processes = ["trainer.accelerator=cpu", "trainer.strategy=ddp", f"trainer.devices={options.devices}"]
        options.settings += processes
    given = {setting.split("=")[0] for setting in settings}
    options.settings = [s for s in options.settings if s.split("=")[0] not in given] + settings
    return options


@dataclass
class Child:
    """A training process with its log.

    Args:
        out: the run's folder.
        arguments: of ``train.py``.
    """

    out: Path
    arguments: list[str]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, str(TRAIN), *self.arguments, f"out={self.out}"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.out.with_suffix(".log")

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself within some seconds.

        Raises:
            RunStopped: it failed.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if code:
            raise RunStopped(f"{' '.join(self.arguments)}: exit code {code}: {self.log.read_text()[-1000:]}")
        return True

    def saved_ns(self) -> int:
        """When the last checkpoint was written."""
        path = self.out / CHECKPOINTS / LAST
        return path.stat().st_mtime_ns if path.exists() else 0

    def begins_to_write(self) -> bool:
        """Wait until a checkpoint is half written; False if the process ends before."""
        while self.process.poll() is None:
            if any((self.out / CHECKPOINTS).glob(f".*{PARTIAL}")):
                return True
        return False

    def kill(self) -> None:
        """SIGKILL for it and the processes that it has started."""
        subprocess.run(["kill", "-KILL", "--", f"-{self.process.pid}"], check=False)
        self.process.wait()


def _resume(options: Namespace, folder: Path) -> int:
    whole, killed = folder / "whole", folder / "killed"
    started = time.monotonic()
    if not Child(whole, options.settings).wait(STUCK_S):
        raise RunStopped(f"the uninterrupted run takes longer than {STUCK_S:.0f} s; make it smaller")
    whole_s = time.monotonic() - started
    train_s = json.loads((whole / "summary.json").read_text())["train_s"]
    print(f"{options.task}: the uninterrupted run took {whole_s:.1f} s, {train_s:.1f} s of them training")
    print(f"{'kill':>4}  {'after':>7}  {'from step':>9}  {'to step':>7}  what it was doing")
    chance = random.Random(options.seed)
    count = 0
    for _ in range(options.kills):
        before = _step(killed)
        child = _child(killed, options.settings)
        after = _kill(child, chance, train_s / options.kills)
        if after is None:
            break
        count += 1
        print(f"{count:4}  {after:5.2f} s  {before:9}  {_step(killed):7}  {_doing(killed)}", flush=True)
    _child(killed, options.settings).wait(STUCK_S)
    return _compare(_hashes(whole), _hashes(killed), count, options.kills)


def _child(out: Path, settings: list[str]) -> Child:
    return Child(out, ["ckpt=last"] if (out / CONFIG).exists() else settings)


def _kill(child: Child, chance: random.Random, share_s: float) -> float | None:
    """Kill a child at a random time: one in ten while it starts, the others after their first checkpoint, of these one
    in four as soon as it begins to write another one.

    Args:
        child: the process.
        chance: decides.
        share_s: how much longer it may live after the checkpoint, at most.

    Returns:
        the seconds that it has lived, None when it ended before.
    """
    began, saved = time.monotonic(), child.saved_ns()
    patience_s = chance.uniform(0, START_S) if chance.random() < 0.1 else STUCK_S
    while child.saved_ns() == saved and time.monotonic() - began < patience_s:
        if child.wait(0.02):
            return None
    if child.saved_ns() > saved and child.wait(share_s * chance.random()):
        return None
    if chance.random() < 0.25 and not child.begins_to_write():
        return None
    child.kill()
    return time.monotonic() - began


def _step(out: Path) -> int:
    if not has_checkpoints(out):
        return 0
    return int(read_checkpoint(newest_intact(out / CHECKPOINTS)[0])["global_step"])


def _doing(out: Path) -> str:
    left = [path.name for path in out.rglob(f".*{PARTIAL}")]
    if left:
        return f"writing {left[0].removeprefix('.').removesuffix(PARTIAL)}"
    return "training, validating or testing" if has_checkpoints(out) else "starting"


def _hashes(out: Path) -> dict[str, str]:
    """A SHA-256 of each part of a finished run, 16 digits of it."""
    last, best = (read_checkpoint(out / CHECKPOINTS / name) for name in (LAST, BEST))
    summary = json.loads((out / "summary.json").read_text())
    del summary["train_s"], summary["code_version"]  # neither is a result
    return {
        "weights": digest(last["state_dict"]),
        "optimiser and schedule": digest([last["optimizer_states"], last["lr_schedulers"]]),
        "random states": digest(last["callbacks"]["RandomState"]),
        "best checkpoint": digest([best[key] for key in ("state_dict", "optimizer_states", "epoch", "global_step")]),
        "metrics.csv": hashlib.sha256((out / "metrics.csv").read_bytes()).hexdigest()[:16],
        "summary.json": digest(summary),
    }


def digest(value: Any) -> str:
    """16 digits of a SHA-256 over nested containers of numbers, text and tensors."""
    sha = hashlib.sha256()
    for part in _parts(value):
        sha.update(part)
    return sha.hexdigest()[:16]


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield repr(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}]".encode()
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value).encode()


def _compare(whole: dict[str, str], killed: dict[str, str], kills: int, wanted: int) -> int:
    print(f"\n{'':24}{'uninterrupted':18}{'killed and resumed':20}")
    for name, value in whole.items():
        print(f"{name:24}{value:18}{killed[name]:20}{'equal' if value == killed[name] else 'DIFFERENT'}")
    if kills < wanted:
        print(f"only {kills} of {wanted} kills: the run was over; give it more to do, as trainer.max_epochs=100")
    print(f"\n{kills} kills: {'nothing was lost' if whole == killed else 'the resumed run is another one'}")
    return 0 if whole == killed and kills == wanted else 1


if __name__ == "__main__":
    run_command(main)
