"""Real training processes that a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import RunStopped
from app.files import PARTIAL
from app.resume.checkpoint import LAST
from app.run_files import CHECKPOINTS, METRICS
from app.sweep.forks import Forked
from reliability.starts import forked

TRAIN = Path(__file__).resolve().parents[1] / "train.py"


@dataclass
class Child:
    """A training process with its log; in a ``with`` block it is killed at the end.

    Args:
        out: the run's folder.
        arguments: of ``train.py``.
        environment: variables that are added to this process's.
        before: a command that starts it, such as one that takes its disk away first.
        is_forked: it is forked from a process that has imported what it needs; one with a command ``before`` never is.
    """

    out: Path
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    is_forked: bool = True
    process: subprocess.Popen[bytes] | Forked = field(init=False)

    def __post_init__(self) -> None:
        env = os.environ | self.environment
        command = [sys.executable, str(TRAIN), *self.arguments, f"out={self.out}"]
        if self.is_forked and not self.before:
            self.process = forked(command, self.log, env)
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, *command], stdout=log, stderr=log, start_new_session=True, env=env
            )

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.out.with_suffix(".log")

    def code_within(self, seconds: float) -> int | None:
        """Its exit code; None when it goes on for longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself within some seconds.

        Raises:
            RunStopped: it failed.
        """
        code = self.code_within(seconds)
        if code:
            raise RunStopped(f"{' '.join(self.arguments)}: exit code {code}: {self.printed()[-1000:]}")
        return code == 0

    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def end(self, signum: int, seconds: float) -> int | None:
        """Send a signal: the exit code, None when it goes on for longer."""
        self.process.send_signal(signum)
        return self.code_within(seconds)

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

    def has_written_metrics(self) -> bool:
        """Wait until the table of metrics is replaced; False if the process ends before."""
        path = self.out / METRICS
        before = path.stat().st_mtime_ns if path.exists() else 0
        while self.process.poll() is None:
            if path.exists() and path.stat().st_mtime_ns != before:
                return True
        return False

    def kill(self) -> None:
        """SIGKILL for it and the processes that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running behind, whatever has happened."""
        self.kill()
