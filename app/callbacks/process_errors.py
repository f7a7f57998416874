"""Errors of one process of several: its own are kept in its own words, and told from the loss of the others."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

import lightning as L
import torch.distributed as dist

from ..errors import RunStopped

SIGNS = ("gloo/", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""What PyTorch's connection on the CPU says when its other end has gone; it has no type of error of its own."""


def lost_the_others(error: BaseException) -> bool:
    """Whether a process failed because another one of its run has gone or does not answer."""
    if not dist.is_initialized() or isinstance(error, RunStopped) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in SIGNS)


def keep_own_error(trainer: L.Trainer, error: BaseException, out: Path, how_to_go_on: str) -> None:
    """Write the traceback into ``error-processN.txt`` in the run's folder, and stop with what it says.

    Raises:
        RunStopped: always.
    """
    path = out / f"error-process{trainer.global_rank}.txt"
    where = f"the traceback cannot be written to {path}"
    with suppress(OSError):
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        where = f"the traceback is in {path}"
    said = " ".join(str(error).split())[:300]
    who = f"process {trainer.global_rank} failed in step {trainer.global_step}"
    raise RunStopped(f"{who} ({type(error).__name__}: {said}); {where}; mend the cause, then {how_to_go_on}") from None
