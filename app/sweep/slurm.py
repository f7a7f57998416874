"""``launcher=slurm``: each run is a job of a SLURM cluster, submitted and requeued by submitit.

A job runs ``train.py`` as a sweep of one machine does, with the same arguments, folder and log. When SLURM wants the
machine back, or the job comes to its time limit, the run saves a checkpoint and the job queues again under its number.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..errors import UserError
from ..files import replacing
from ..run_files import CONFIG
from ..settings import setting
from .job import Training
from .launchers import LAUNCHERS, Finished
from .plan import Trial
from .run import command, is_finished, log_of

CLUSTER = "slurm"
"""submitit's name of it; its other names run jobs on this machine."""
POLL_S = 10.0
"""Between two looks at the queue, which all users of a cluster share."""
GONE_S = 30.0
"""So long may a shared file system take to show what a job has written that has left the queue."""
WARNING_S = 60
"""So long before the time limit is a job told to save and queue again."""
LARGEST_ARRAY = 1000
"""Clusters take arrays of 1001 jobs unless they are set up for more."""
FOLDER, JOBS = "slurm", "jobs.json"
"""In the sweep's folder: submitit's files, and the number of each run's last job."""


@LAUNCHERS.register("slurm")
@dataclass(frozen=True)
class Slurm:
    """Jobs of a SLURM cluster, each on one of its machines."""

    partition: str | None = setting(None, "partition of the cluster; null = its default")
    account: str | None = setting(None, "account that is charged; null = your default")
    qos: str | None = setting(None, "quality of service; null = your default")
    gpus: int = setting(0, "GPUs of each run; several need trainer.devices and trainer.strategy=ddp", ge=0)
    cpus: int = setting(1, "CPU cores of each run", ge=1)
    memory_gb: float | None = setting(None, "memory of each run; null = the cluster's default", gt=0)
    time_min: int = setting(60, "time limit of a job; a run that needs more queues again and goes on", ge=3)
    requeues: int = setting(20, "so often may a run come to the time limit and queue again", ge=0)
    options: list[str] = setting([], "further options of sbatch, e.g. [constraint=a100,exclude=node7]")
    setup: list[str] = setting([], "shell commands before each run, e.g. [module load cuda]")

    after_stop: ClassVar[str] = (
        "jobs stay in the queue (squeue --me, scancel) and finished runs are kept; the same command goes on with them"
    )

    def check(self, jobs: int | None) -> None:
        """submitit and SLURM's commands are needed; see :class:`Launcher`."""
        for option in self.options:
            if not all(option.partition("=")[::2]):
                raise UserError(f"launcher.options holds {option!r}: write name=value, as in [constraint=a100]")
        self._executor(Path(), jobs or 1)

    def words(self, jobs: int | None, runs: int) -> str:
        """Jobs, and how many at a time; see :class:`Launcher`."""
        return "jobs of SLURM" + (f", {jobs} at a time" if jobs else "")

    def run_all(
        self, trials: Sequence[Trial], jobs: int | None, lock: int, report: Callable[[Finished], None]
    ) -> list[Finished]:
        """Submit what is not in the queue already, and wait; see :class:`Launcher`."""
        running, finished = self._submitted(trials, jobs), []
        while running:
            alive = in_queue()
            for one in [one for one in running if one.is_over(alive)]:
                running.remove(one)
                finished.append(self._end(one))
                report(finished[-1])
            if running:
                time.sleep(POLL_S)
        return finished

    def _submitted(self, trials: Sequence[Trial], jobs: int | None) -> list[_Submitted]:
        """The job of each trial, in the queue from before or from now on."""
        if not trials:
            return []
        folder = trials[0].out.parent / FOLDER
        known, alive = _known_jobs(folder), in_queue()
        if alive is None:
            raise UserError("launcher=slurm: squeue does not answer; give the command again when SLURM does")
        executor = self._executor(folder, jobs or LARGEST_ARRAY)
        at_work = [trial for trial in trials if known.get(trial.out.name) in alive]
        found = [_Submitted(trial, executor.job_class(folder, known[trial.out.name])) for trial in at_work]
        new = [trial for trial in trials if trial not in at_work]
        for start in range(0, len(new), LARGEST_ARRAY):
            part = new[start : start + LARGEST_ARRAY]
            submitted = _submit(executor, [self._training(trial) for trial in part])
            found += [_Submitted(trial, job) for trial, job in zip(part, submitted, strict=True)]
            with replacing(folder / JOBS) as file:
                json.dump(known | {one.trial.out.name: one.job.job_id for one in found}, file, indent=1)
        return found

    def _training(self, trial: Trial) -> Training:
        return Training(command(trial), str(trial.out / CONFIG), str(log_of(trial)), self.cpus)

    def _executor(self, folder: Path, jobs: int) -> Any:
        try:
            import submitit
        except ImportError:
            raise UserError("launcher=slurm needs submitit; install it: pip install submitit==1.5.4") from None
        try:
            executor = submitit.AutoExecutor(folder, cluster=CLUSTER, slurm_max_num_timeout=self.requeues)
        except RuntimeError:
            raise UserError(
                "launcher=slurm: this machine has no srun, so it belongs to no SLURM cluster; use launcher=local"
            ) from None
        executor.update_parameters(
            name="antlr-snn",
            timeout_min=self.time_min,
            cpus_per_task=self.cpus,
            gpus_per_node=self.gpus or None,
            mem_gb=self.memory_gb,
            slurm_partition=self.partition,
            slurm_account=self.account,
            slurm_qos=self.qos,
            slurm_signal_delay_s=WARNING_S,
            slurm_array_parallelism=jobs,
            slurm_srun_args=[f"--cpus-per-task={self.cpus}"],  # srun does not take it from sbatch
            slurm_setup=list(self.setup) or None,
            slurm_additional_parameters=dict(option.partition("=")[::2] for option in self.options) or None,
        )
        return executor._executor

    def _end(self, one: _Submitted) -> Finished:
        """How a run ended; a job that was killed has no exit code."""
        seconds, see = time.monotonic() - one.since_s, f"see {os.path.relpath(one.job.paths.stderr)}"
        if is_finished(one.trial):
            return Finished(one.trial, 0, seconds)
        if not one.has_result:
            return Finished(one.trial, 1, seconds, f"was ended by SLURM, {see}")
        try:
            return Finished(one.trial, one.job.result(), seconds)
        except RuntimeError as error:  # of submitit, with the job's traceback
            if "timed-out too many times" not in str(error):
                return Finished(one.trial, 1, seconds, f"failed in its job, {see}")
            turns = f"{self.requeues + 1} times to launcher.time_min={self.time_min}"
            return Finished(one.trial, 1, seconds, f"came {turns}; the same command goes on with it")


class _Submitted:
    """A trial and its job.

    Args:
        trial: the run.
        job: as submitit knows it.
    """

    def __init__(self, trial: Trial, job: Any) -> None:
        self.trial, self.job = trial, job
        self.since_s = time.monotonic()
        self._gone_s: float | None = None

    @property
    def has_result(self) -> bool:
        """Whether the job came to its end by itself."""
        return bool(self.job.paths.result_pickle.exists())

    def is_over(self, alive: set[str] | None) -> bool:
        """Whether it is over, by what it has left behind, or since it has been out of the queue for long enough."""
        if self.has_result:
            return True
        if alive is None or self.job.job_id in alive:
            self._gone_s = None
            return False
        self._gone_s = self._gone_s or time.monotonic()
        return is_finished(self.trial) or time.monotonic() - self._gone_s > GONE_S


def _submit(executor: Any, runs: Sequence[Training]) -> list[Any]:
    """One array of jobs."""
    from submitit.core.utils import FailedJobError

    try:
        with executor.batch():
            jobs = [executor.submit(run) for run in runs]
        return [executor.job_class(executor.folder, job.job_id) for job in jobs]
    except (FailedJobError, subprocess.CalledProcessError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"launcher=slurm: sbatch refuses the jobs ({said}); correct launcher.*") from None


def _known_jobs(folder: Path) -> dict[str, str]:
    """The numbers of the jobs of earlier sessions by run; a run whose number is lost is submitted again."""
    try:
        known = json.loads((folder / JOBS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(run): str(job) for run, job in known.items()} if isinstance(known, dict) else {}


def in_queue() -> set[str] | None:
    """The user's jobs that wait or run, each of an array by itself; None if SLURM does not answer."""
    ask = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    try:
        return set(subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60).stdout.split())
    except (OSError, subprocess.SubprocessError):
        return None
