"""Runs that start at once: a process that has imported what all runs need, and forks for each of them.

Imports are five seconds of CPU time, more than a short run takes to train. What is forked is a process of its own as
any other: the same script in the same environment, with its own session, output and exit code. The forking process
computes nothing: its threads would be missing in the runs, and CUDA cannot be used behind a fork if it was before.

Both ends are in this file, which imports little, for the other one runs it as a script: it imports the module that its
argument names and answers requests, one line of JSON each, until nobody can ask any more. Its runs live on then.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

READY = "app.sweep.ready"
"""The module that imports what runs need; its function ``renew``, if it has one, is called in each of them."""
ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.05


class Gone(ConnectionError):
    """The forking process has been killed."""


class Forks:
    """The end that asks.

    Args:
        environment: of all runs.
        handles: file descriptors that all runs inherit.

    Raises:
        Gone: it could not import what runs need; what is wrong is on stderr.
    """

    def __init__(self, environment: Mapping[str, str], handles: Sequence[int] = ()) -> None:
        self._number = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, READY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            pass_fds=handles,
            start_new_session=True,  # Ctrl-C does not reach it
        )
        try:
            self.ask("hello")
        except BaseException:
            self._process.kill()
            self.close()
            raise

    def start(
        self, line: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, folder: str = ""
    ) -> Forked:
        """Run Python with the rest of a command line, ``[python, script or -m module, arguments …]``.

        Args:
            line: the command.
            log: gets the output at its end.
            environment: of this run instead of that of all; what was imported already has read that of all.
            folder: where it runs; "" for that of the forking process.
        """
        own = environment and dict(environment)
        return Forked(self.ask("start", list(line[1:]), str(Path(log).absolute()), own, folder), self)

    def ask(self, *request: Any) -> Any:
        """An answer; one that an interrupted request did not wait for is passed over."""
        self._number += 1
        try:
            os.write(self._process.stdin.fileno(), json.dumps([self._number, *request]).encode() + b"\n")  # type: ignore[union-attr]
            while answer := self._process.stdout.readline():  # type: ignore[union-attr]
                number, value = json.loads(answer)
                if number == self._number:
                    return value
        except BrokenPipeError:
            pass
        raise Gone("the process that starts the runs has ended")

    def close(self) -> None:
        """Leave, and end what still runs, as a run does whose start was interrupted."""
        with suppress(Gone):
            self.ask("end")
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()  # type: ignore[union-attr]
        self._process.wait()


class Forked:
    """A run, with the methods of :class:`subprocess.Popen`.

    Args:
        pid: its process.
        forks: who is asked for it.
    """

    def __init__(self, pid: int, forks: Forks) -> None:
        self.pid, self._forks = pid, forks
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs. Nobody knows that of an orphan: it is 1."""
        if self.returncode is None:
            try:
                self.returncode = self._forks.ask("poll", self.pid)
            except Gone:
                self.returncode = None if _lives(self.pid) else 1
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(POLL_S)
        return code

    def terminate(self) -> None:
        """Send SIGTERM, if it still runs."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, signum: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)


def _lives(pid: int) -> bool:
    """Whether a process runs; where nobody collects orphans, ended ones stay in the list."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
            not in "ZX"
        )
    except OSError:
        return False


# --- the other end ----------------------------------------------------------------------------------------------------


def serve(module: str) -> None:
    """Answer until nobody can ask any more; in a forked process, run what it was forked for."""
    if not getattr(sys.flags, "safe_path", False):  # where ``python train.py``, and ``python -m app.train``, would look
        sys.path[0] = str(ROOT) if (ROOT / "train.py").is_file() else os.getcwd()
    ends_with = import_module("app.leaving").ends_with  # a script has no relative imports
    ends_with(1)  # until it is over
    out = os.dup(1)
    os.dup2(2, 1)  # whatever an import prints is no answer
    renew = getattr(import_module(module), "renew", None)
    gc.freeze()  # what is here will stay: no collection in a run looks at it, and copies the memory that it shares
    runs: set[int] = set()
    while request := sys.stdin.readline():
        number, what, *given = json.loads(request)
        value: int | None = None
        if what == "start":
            value = os.fork()
            if value == 0:
                os.close(out)
                line, *where = given
                try:
                    _become(*where)
                    if renew:
                        renew()
                    _run(line)
                    ends_with(0)
                except SystemExit as ended:
                    ends_with(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
                    raise
                return
            runs.add(value)
        elif what == "poll":
            pid, status = os.waitpid(given[0], os.WNOHANG)
            if pid:
                runs.discard(pid)
                value = os.waitstatus_to_exitcode(status)
        elif what == "end":
            for pid in runs:
                os.kill(pid, signal.SIGTERM)
        try:
            os.write(out, json.dumps([number, value]).encode() + b"\n")
        except BrokenPipeError:
            break
    ends_with(0)


def _become(log: str, environment: Mapping[str, str] | None, folder: str) -> None:
    """Be a process of one's own, as one that has just been started."""
    os.setsid()
    for handle, path, how in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
        opened = os.open(path, how, 0o666)
        os.dup2(opened, handle)
        os.close(opened)
    os.dup2(1, 2)
    os.chdir(folder or ".")
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)


def _run(line: Sequence[str]) -> None:
    if line[0] == "-m":
        sys.argv = list(line[1:])
        runpy.run_module(line[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(line)
        runpy.run_path(line[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
