"""Waiting for processes as long as they do something: a loaded machine is slow, a stuck process uses no time at all."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.sweep.forks import Forked
from reliability.starts import forked
from reliability.usage import PROC, children_of

IDLE_S = 60.0
"""A process that has used no processor time for so long is stuck."""


@dataclass(frozen=True)
class Started:
    """A process with a group of its own, which :func:`outputs_of` ends.

    Args:
        line: its command.
        process: the process.
        log: what it prints.
    """

    line: tuple[str, ...]
    process: Forked
    log: Path


def group(*line: str, env: Mapping[str, str] | None = None) -> Started:
    """Start Python, ``python, script or -m module, arguments …``; its output is text in one stream."""
    handle, name = tempfile.mkstemp(".log")
    os.close(handle)
    return Started(line, forked(line, Path(name), os.environ if env is None else env), Path(name))


def outputs_of(children: Sequence[Started], idle_s: float = IDLE_S) -> list[str]:
    """What processes print until all have ended; whatever happens, none of them nor of their own is left.

    Args:
        children: made by :func:`group`.
        idle_s: they are stuck when none of them has done anything for so long.

    Raises:
        TimeoutError: they are stuck.
    """
    used, since_s = 0.0, time.monotonic()
    try:
        while any(child.process.poll() is None for child in children):
            time.sleep(0.1)
            pids = [child.process.pid for child in children]
            now = sum(_processor_s(one) for pid in pids for one in (pid, *children_of(pid)))
            if now != used:
                used, since_s = now, time.monotonic()
            if time.monotonic() - since_s > idle_s:
                raise TimeoutError(f"nothing has happened for {idle_s:.0f} s in {[child.line for child in children]}")
    finally:
        for child in children:
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
        printed = [child.log.read_text(errors="replace") for child in children]
        for child in children:
            child.log.unlink()
    return printed


def _processor_s(pid: int) -> float:
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
