"""Search a grid with repeated trials: ``python -m app.sweep [key=value …] [key=value,value …] [trials=N] [jobs=N]``.

A key with several values is an axis of the grid; every combination is trained with ``trials`` seeds (from ``seed=0``
on, or the seeds of ``seed=0,3,5``). Several values of ``data.fold`` are trials too, for a cross-validation. Lists keep
their commas: ``network=[64,fc200,fc10],[64,fc50,fc10]``; so does text in quotation marks. For example

  python -m app.sweep config=mnist_antlr optim.lr=1e-2,1e-3,1e-4 optim.grad_clip=1e6,10,1 trials=16 jobs=2

Each run is a W&B run in the group of the sweep, in a folder of its own below ``out`` (default ``runs/sweeps/…``). The
same command goes on after a stop of any kind: finished runs are kept, interrupted ones go on from their last
checkpoint. The option with the best mean validation is chosen, for each task and rule; test numbers are shown for it
alone.

With search=random or search=tpe (Bayesian) settings are drawn from ranges instead (needs Optuna: pip install
optuna==5.0.0), and runs that are worse than half of the others at the same epoch are stopped:

  python -m app.sweep config=mnist_antlr search=tpe trials=50 optim.lr=1e-4..1e-2:log data.batch_size=8..64

  search=random|tpe          trials=N is then the number of settings to try (default 20), seed=0,1,2 the seeds of each;
                             tpe draws the first five at random, and learns from them
  pruner=median|none         what stops bad runs early
  trials=N                   runs of each option (default 1)
  jobs=N                     runs at the same time (default: one for each core); they share the cores
  launcher=NAME              what runs them: local, or slurm with its settings below
  out=FOLDER                 the sweep's folder: runs, logs/, command.txt, results.csv, results.json
  wandb_sweep=FILE           write the grid for 'wandb sweep FILE' and 'wandb agent', run nothing
  --dry-run                  list the commands, run nothing

With launcher=slurm each run is a job of a SLURM cluster (needs submitit: pip install submitit==1.5.4), all of them
one array, jobs=N at the same time. A job that is preempted or comes to its time limit saves a checkpoint, queues
again and goes on. Stopping the sweep leaves the jobs; the same command finds them. Settings:
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from ..arguments import wants_help
from ..config import command_help
from ..errors import Interrupted, UserError, run_command
from ..report.experiments import COMMAND
from ..report.tables import one as one_value
from ..run_files import CONFIG
from ..settings import settings_of
from . import slurm  # noqa: F401  registers launcher=slurm
from .job import going_on
from .launchers import LAUNCHERS, Finished, Launcher, launcher_of
from .outcome import NAMES, choose, measure, outcomes, store, table, validated, written
from .plan import OWN, Plan, Trial, read_plan
from .run import command, is_damaged, is_finished, log_of, set_aside, sole, stored
from .search import PRUNERS, SAMPLERS, is_search, range_of, search

FLAGS = ("dry-run",)
KEYS = (*OWN, "search", "pruner", "launcher", *(f"launcher.{one.name}" for one in settings_of(LAUNCHERS["slurm"])))
VALUES = {"search": SAMPLERS, "pruner": PRUNERS}
DRY_RUN = f"--{FLAGS[0]}"


def main(argv: list[str]) -> int:
    """Run what is left of a sweep and choose; 1 if a run failed."""
    if wants_help(argv):
        print(command_help(f"{__doc__}{_launcher_settings()}", argv))
        return 0
    arguments = list(argv)
    if is_search(arguments):
        try:
            return search(arguments)
        except Interrupted as stop:
            raise Interrupted(stop.exit_code - 128, "finished runs are kept; the same command goes on") from None
    for key, _, text in (argument.removeprefix("--").partition("=") for argument in arguments):
        if range_of(key, text):
            raise UserError(f"{key}={text} is a range: add search=tpe or search=random, or list values with commas")
    is_dry = DRY_RUN in arguments
    plan = read_plan(argument for argument in arguments if argument != DRY_RUN)
    launcher = launcher_of(plan.launcher)
    if plan.wandb_sweep:
        if plan.launcher:
            raise UserError(f"{next(iter(plan.launcher))} has no meaning with wandb_sweep, which runs nothing")
        return _write(plan, Path(plan.wandb_sweep))
    trials = plan.trials()
    if is_dry:
        print(
            "\n".join(
                shlex.join(going_on(command(trial), trial.out / CONFIG)) for trial in trials if not is_finished(trial)
            )
        )
        return 0
    try:
        return _run(plan, launcher, trials, shlex.join(["python", "-m", "app.sweep", *arguments]))
    except Interrupted as stop:
        raise Interrupted(stop.exit_code - 128, launcher.after_stop) from None


def _write(plan: Plan, file: Path) -> int:
    from .wandb_file import sweep_file

    text = sweep_file(plan)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"wandb_sweep={file} cannot be written: {error.strerror}") from None
    print(f"{file}: {len(plan.trials())} runs; 'wandb sweep {file}', then 'wandb agent ID' anywhere")
    return 0


def _launcher_settings() -> str:
    return "\n".join(f"  {f'launcher.{one.name}':26} {one.metadata['help']}" for one in settings_of(LAUNCHERS["slurm"]))


def _run(plan: Plan, launcher: Launcher, trials: Sequence[Trial], line: str) -> int:
    left = [trial for trial in trials if not is_finished(trial)]
    launcher.check(plan.jobs)
    print(_heading(plan, trials, left, launcher.words(plan.jobs, len(left))), flush=True)
    with sole(plan.out) as lock:
        for trial in filter(is_damaged, left):
            reasons = "; ".join(found.troubles) if (found := stored(trial)) else CONFIG
            print(f"{trial.label}: damaged ({reasons}); moved to {set_aside(trial)}, to be run again", flush=True)
        (plan.out / COMMAND).write_text(f"{line}\n", encoding="utf-8")
        finished = launcher.run_all(left, plan.jobs, lock, _Progress(len(trials), len(left)))
        options = outcomes(trials)
        chosen = choose(options)
        store(options, chosen, plan.out)
    print(table(options, chosen))
    failed = [one for one in finished if one.exit_code]
    if failed:
        print(f"\n{len(failed)} of {len(trials)} runs failed; the same command tries them again:")
        print("\n".join(f"  {one.trial.label}: {log_of(one.trial)}" for one in failed))
    print(f"\n{plan.out}: results.csv, results.json, logs/; python -m app.report {plan.out} draws the runs")
    return int(bool(failed))


def _heading(plan: Plan, trials: Sequence[Trial], left: Sequence[Trial], how: str) -> str:
    done, broken = len(trials) - len(left), sum(map(is_damaged, left))
    begun = sum((trial.out / CONFIG).exists() for trial in left) - broken
    known = f"; {done} are finished already, {begun} go on from where they stopped" if done or begun else ""
    known += f"; {broken} are damaged and are run again" if broken else ""
    grid = f"{len(plan.options)} options x {len(trials) // len(plan.options)} trials = {len(trials)} runs"
    return f"{plan.out}: {grid}, {how}{known}"


class _Progress:
    """Prints a line for each run that ends.

    Args:
        total: runs of the sweep.
        left: runs of this session.
    """

    def __init__(self, total: int, left: int) -> None:
        self.total, self.left, self.ended = total, left, total - left
        self.start_s = time.monotonic()

    def __call__(self, one: Finished) -> None:
        self.ended += 1
        done = self.ended - (self.total - self.left)
        rest_s = (time.monotonic() - self.start_s) / done * (self.left - done)
        name = f"[{self.ended:{len(str(self.total))}}/{self.total}] {one.trial.label}"
        rest = f"; {_duration(rest_s)} left" if self.left > done else ""
        print(f"{name}: {_result(one)}, {_duration(one.seconds)}{rest}", flush=True)


def _result(one: Finished) -> str:
    if one.trouble:
        return one.trouble
    if one.exit_code:
        return f"failed with exit code {one.exit_code}, see {log_of(one.trial)}"
    name = measure(one.trial).name
    value = validated(one.trial).get(name)
    return "finished" if value is None else f"validation {NAMES[name]} {written(name, one_value(value))}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    run_command(main)
