"""What a job of a cluster runs: one trial of a sweep. It starts often and imports little."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0
"""So long may an interrupted run take to write a checkpoint."""
KILLED_S = 120.0
"""So long after a run was stopped by somebody else does its job wait to be told why."""


def going_on(line: Sequence[str], config: Path) -> list[str]:
    """A trial's command, which goes on with the run if it was begun before.

    Args:
        line: the command that begins it.
        config: the file that the run's folder holds from its beginning.
    """
    return [*line, *(["ckpt=last"] if config.exists() else [])]


class Training:
    """What a job runs: one trial, in a process of its own.

    Args:
        line: its command.
        config: the file that the run's folder holds from its beginning.
        log: where its output goes.
        cpus: its threads.
    """

    def __init__(self, line: Sequence[str], config: str, log: str, cpus: int) -> None:
        self.given = (tuple(line), config, log, cpus)
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Train, from the last checkpoint if there is one; returns the exit code of ``train.py``."""
        line, config, log, cpus = self.given
        # to SLURM's variables Lightning, and to submitit's a sweep within the run, would listen
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SUBMITIT_"))}
        threads = {name: os.environ.get(name, str(cpus)) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        with open(log, "a", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                going_on(line, Path(config)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=own | threads,
                preexec_fn=_ignore_warnings,
            )
        code = _code_of(self._process)
        if code == 128 + signal.SIGTERM:  # sent to all processes of the job: a warning or the end is about to come
            time.sleep(KILLED_S)
        return code

    def checkpoint(self) -> Any:
        """Called by submitit before a job queues again: the run saves its state and stops."""
        from submitit.helpers import DelayedSubmission

        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return DelayedSubmission(Training(*self.given))


def _code_of(process: subprocess.Popen[bytes]) -> int:
    """Wait; between two looks a signal's handler may call what needs the process itself."""
    while (code := process.poll()) is None:
        time.sleep(0.2)
    return code


def _ignore_warnings() -> None:
    """SLURM's warning goes to all processes of a job; the one that knows what to do with it is not this one."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
