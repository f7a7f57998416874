"""Waiting for processes as long as they do something: a loaded machine is slow, a stuck process uses no time at all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from reliability.usage import PROC, children_of

IDLE_S = 60.0
"""A process that has used no processor time for so long is stuck."""


def group(*argv: str, **options: object) -> subprocess.Popen[str]:
    """A process with a group of its own, which :func:`outputs_of` ends; its output is text in one stream."""
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options
    )


def outputs_of(children: Sequence[subprocess.Popen[str]], idle_s: float = IDLE_S) -> list[str]:
    """What processes print until all have ended; whatever happens, none of them nor of their own is left.

    Args:
        children: made by :func:`group`; they print less than a pipe holds.
        idle_s: they are stuck when none of them has done anything for so long.

    Raises:
        TimeoutError: they are stuck.
    """
    used, since_s = 0.0, time.monotonic()
    try:
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            now = sum(_processor_s(pid) for child in children for pid in (child.pid, *children_of(child.pid)))
            if now != used:
                used, since_s = now, time.monotonic()
            if time.monotonic() - since_s > idle_s:
                raise TimeoutError(f"nothing has happened for {idle_s:.0f} s in {[child.args for child in children]}")
    finally:
        for child in children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    return [child.communicate()[0] for child in children]


def _processor_s(pid: int) -> float:
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
