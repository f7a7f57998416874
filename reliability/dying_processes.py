"""Faults of processes: signals, and one of two processes that dies."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from app.resume.checkpoint import LAST, read_checkpoint
from app.run_files import CHECKPOINTS
from reliability.bench import Bench, Ended, Outcome
from reliability.child import Child
from reliability.usage import children_of, usage_of

DDP = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
DEATH_S = 30.0
"""A job must have ended so long after one of its processes."""


def second_process(child: Child) -> int:
    """The process id of rank 1 of a run on two processes."""
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of(child.process.pid)}
    return next(pid for pid, line in lines.items() if b"train.py" in line)


def one_of_two_dies(bench: Bench, victim: int) -> tuple[Ended, bool, int]:
    """Kill one process of a run on two: how the first ended, whether the second has gone, the last saved step."""
    name = f"rank{victim}"
    with bench.begun(name, "trainer.max_epochs=100000", *DDP, OMP_NUM_THREADS="1") as child:
        second = second_process(child)
        os.kill((child.process.pid, second)[victim], signal.SIGKILL)
        ended = bench.end_of(child, DEATH_S)
        gone = has_gone(second, DEATH_S - ended.seconds)
        ended = replace(ended, printed=child.printed())  # the second may speak last
    return ended, gone, int(read_checkpoint(child.out / CHECKPOINTS / LAST)["global_step"])


def has_gone(pid: int, seconds: float) -> bool:
    """Whether a process has ended within some seconds."""
    end_s = time.monotonic() + seconds
    while usage_of(pid) is not None:
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def _rank_dies(bench: Bench, victim: int) -> Outcome:
    ended, gone, step = one_of_two_dies(bench, victim)
    said = "one of them has ended; go on with" in ended.printed or "terminated with code" in ended.printed
    goes_on = bench.train(f"rank{victim}", "ckpt=last", f"trainer.max_steps={step + 3}", OMP_NUM_THREADS="1").code == 0
    happened = f"the job ended after {ended.seconds:.1f} s with a message and goes on with ckpt=last"
    survived = ended.code not in (0, None) and gone and said and goes_on
    return Outcome("1 run", happened if survived else f"exit code {ended.code}: {ended.sentence}", survived)


def first_rank_dies(bench: Bench) -> Outcome:
    """First of two processes (DDP) is killed."""
    return _rank_dies(bench, 0)


def second_rank_dies(bench: Bench) -> Outcome:
    """Second of two processes (DDP) is killed."""
    return _rank_dies(bench, 1)


def _signal(bench: Bench, signum: signal.Signals) -> Outcome:
    name = signum.name.lower()
    with bench.begun(name) as child:
        child.process.send_signal(signum)
        ended = bench.end_of(child)
    said = f"go on with: python train.py ckpt=last out={child.out}" in ended.sentence
    if ended.code != 128 + signum or not said or not ended.is_sentence:
        return Outcome("1 run", f"exit code {ended.code}: {ended.sentence}", False)
    wrong = bench.resumed(name)
    happened = f"exit code {ended.code}, says how to go on; goes on to the same bits"
    return Outcome("1 run", wrong or happened, not wrong)


def sigterm(bench: Bench) -> Outcome:
    """SIGTERM."""
    return _signal(bench, signal.SIGTERM)


def ctrl_c(bench: Bench) -> Outcome:
    """Ctrl-C (SIGINT)."""
    return _signal(bench, signal.SIGINT)


FAULTS = (sigterm, ctrl_c, first_rank_dies, second_rank_dies)
