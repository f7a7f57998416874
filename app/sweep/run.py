"""Running trials as processes of this machine: several at once, never one twice, going on with interrupted ones."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..errors import UserError
from ..lock import Busy, Lock
from ..run_files import CONFIG, Unusable
from ..runs import Run, read_run
from .forks import Forked, Forks, Gone
from .job import PATIENCE_S, going_on
from .launchers import LAUNCHERS, Finished
from .plan import Trial

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
"""In a checkout; the installed package has the module alone."""
DAMAGED = "damaged"
"""In the sweep's folder: runs whose numbers cannot be read any more."""
POLL_S = 0.1
Process = subprocess.Popen[bytes] | Forked


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stored(trial: Trial) -> Run | None:
    """What the run has left behind so far, in this session or before; None if it has not begun."""
    try:
        return read_run(trial.out)
    except Unusable:
        return None


def is_finished(trial: Trial) -> bool:
    """Whether the run came to its end, and its numbers can still be read."""
    found = stored(trial)
    return found is not None and found.state == "finished"


def is_damaged(trial: Trial) -> bool:
    """Whether the run came to its end, but its numbers cannot be read any more."""
    found = stored(trial)
    return os.path.lexists(trial.out / CONFIG) if found is None else found.state == "damaged"


def set_aside(trial: Trial) -> Path:
    """Move the folder of a damaged run away, so that it can be run again from its beginning.

    Raises:
        UserError: it cannot be moved.
    """
    place = trial.out.parent / DAMAGED
    count = itertools.count(2)
    try:
        place.mkdir(exist_ok=True)
        target = place / trial.out.name
        while target.exists():
            target = place / f"{trial.out.name}-{next(count)}"
        return trial.out.rename(target)
    except OSError as error:
        raise UserError(f"{trial.out} is damaged and cannot be moved away ({error.strerror}); delete it") from None


def command(trial: Trial) -> list[str]:
    """What runs a trial from its beginning."""
    train = [str(TRAIN)] if TRAIN.is_file() else ["-m", f"{__package__.partition('.')[0]}.train"]
    return [sys.executable, *train, *trial.arguments]


def log_of(trial: Trial) -> Path:
    """Where the run's output goes; complete over all sessions."""
    return trial.out.parent / "logs" / f"{trial.out.name}.log"


@contextmanager
def sole(folder: Path) -> Iterator[int]:
    """Hold a lock on the sweep's folder; runs inherit it, so that it also stands while a killed sweep's runs live on.

    Raises:
        UserError: the folder cannot be written, or is in use.
    """
    try:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)
    except OSError as error:
        raise UserError(f"out={folder} cannot be written ({error.strerror}); choose another out=") from None
    except Busy as holder:
        raise UserError(
            f"out={folder}: a sweep, or a run of one that was killed, is still at work there ({holder}); "
            "wait for it or stop it"
        ) from None
    try:
        yield lock.handle
    finally:
        lock.release()


@LAUNCHERS.register("local")
@dataclass(frozen=True)
class Local:
    """Processes of this machine, which share its cores."""

    after_stop: ClassVar[str] = "finished runs are kept; the same command goes on with the rest"

    def check(self, jobs: int | None) -> None:
        """No more runs at the same time than cores; see :class:`Launcher`."""
        if (jobs or 1) > cores():
            raise UserError(f"jobs={jobs} is more than the {cores()} cores of this machine; use jobs={cores()} or less")

    def words(self, jobs: int | None, runs: int) -> str:
        """How many at a time; see :class:`Launcher`."""
        return f"{_at_once(jobs, runs)} at a time"

    def run_all(
        self, trials: Sequence[Trial], jobs: int | None, lock: int, report: Callable[[Finished], None]
    ) -> list[Finished]:
        """Run trials; whatever stops this process stops the runs, each at its next checkpoint; see :class:`Launcher`.

        The runs inherit the lock.
        """
        waiting, finished = list(trials), []
        running: dict[Process, tuple[Trial, float]] = {}
        at_once = _at_once(jobs, len(trials))
        with starting(at_once, len(trials), lock) as start:
            try:
                while waiting or running:
                    while waiting and len(running) < at_once:
                        trial = waiting.pop(0)
                        running[start(trial)] = (trial, time.monotonic())
                    time.sleep(POLL_S)
                    for process, code in [(process, process.poll()) for process in running]:
                        if code is not None:
                            trial, start_s = running.pop(process)
                            finished.append(Finished(trial, code, time.monotonic() - start_s))
                            report(finished[-1])
            finally:
                stop(list(running))
        return finished


def _at_once(jobs: int | None, runs: int) -> int:
    return min(jobs or cores(), max(runs, 1))


@contextmanager
def starting(at_once: int, runs: int, lock: int) -> Iterator[Callable[[Trial], Process]]:
    """What starts runs, each anew or from where it stopped; they share the cores and inherit the lock.

    Several runs are forked from a process that has imported what they need, where that is safe: Apple's libraries do
    not survive a fork, and Windows has none.

    Args:
        at_once: so many run at the same time.
        runs: so many are to be started.
        lock: the handle of the lock on the sweep's folder.
    """
    threads = str(max(1, cores() // at_once))
    limits = {name: os.environ.get(name, threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = os.environ | limits
    forks = None
    if runs > 1 and sys.platform == "linux":
        with suppress(Gone):
            forks = Forks(environment, [lock])

    def start(trial: Trial) -> Process:
        line = going_on(command(trial), trial.out / CONFIG)
        with log_of(trial).open("a", encoding="utf-8") as log:
            if forks is not None:
                with suppress(Gone):
                    return forks.start(line, log_of(trial))
            return subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock] if os.name == "posix" else (),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the runs in order
            )

    try:
        yield start
    finally:
        if forks is not None:
            forks.close()


def stop(processes: Sequence[Process]) -> None:
    """End runs, each at its next checkpoint; waits for them."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
