"""Random and Bayesian search beside the grid, by Optuna: ``app.sweep search=tpe trials=50 optim.lr=1e-4..1e-2:log …``.

A key is searched over a range, ``LOW..HIGH`` or ``LOW..HIGH:log`` (whole numbers if both ends are), or over values
between commas. What is told to Optuna are validation numbers alone: the best epoch of a run, or the mean over several
seeds, and every epoch of the first seed for the pruner, which stops what is worse than half of the others (median).

The history lies in the sweep's folder, ``search.journal``. The settings of trial k are drawn from a seed of (seed, k)
and, for ``tpe``, from the trials that ended before: with jobs=1 a search is the same every time, also after a stop.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..report.experiments import COMMAND
from ..report.tables import one as one_value
from .outcome import NAMES, choose, measure, outcomes, rank, store, table, validated, written
from .plan import Option, Plan, Trial, label, read_plan
from .run import POLL_S, Local, Process, cores, is_finished, log_of, sole, starting, stop, stored

SAMPLERS, PRUNERS = ("random", "tpe"), ("median", "none")
OWN = ("search", "trials", "pruner")
JOURNAL = "search.journal"
STARTUP = 5
"""Trials that the median pruner and the Bayesian sampler want to see first."""


@dataclass(frozen=True)
class Range:
    """Numbers between two ends.

    Args:
        low, high: the ends, which belong to it.
        log: whether orders of magnitude are equally likely, not numbers.
        whole: whether it is one of whole numbers.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def drawn(self, key: str, trial: Any) -> str:
        """What Optuna suggests; six digits of a number that is not whole."""
        if self.whole:
            return str(trial.suggest_int(key, int(self.low), int(self.high), log=self.log))
        return f"{trial.suggest_float(key, self.low, self.high, log=self.log):.6g}"


@dataclass(frozen=True)
class Search:
    """A search.

    Args:
        plan: folder, fixed settings, seeds and jobs; its axes are the lists of values.
        ranges: the other searched keys.
        sampler, pruner: by name.
        trials: settings to try.
    """

    plan: Plan
    ranges: dict[str, Range]
    sampler: str
    pruner: str
    trials: int

    def option(self, trial: Any) -> Option:
        """The settings of a trial."""
        chosen = {key: trial.suggest_categorical(key, list(values)) for key, values in self.plan.axes.items()}
        return tuple((chosen | {key: one.drawn(key, trial) for key, one in self.ranges.items()}).items())

    def runs(self, option: Option, number: int) -> list[Trial]:
        """The runs of a trial, one for each seed."""
        return [self.plan.trial(option, (), seed, f"t{number:03}") for seed in self.plan.seeds]

    def check(self) -> None:
        """Refuse ends of ranges with which nothing can be trained.

        Raises:
            UserError: naming the setting.
        """
        first = tuple((key, values[0]) for key, values in self.plan.axes.items())
        for end in ("low", "high"):
            ends = {key: getattr(one, end) for key, one in self.ranges.items()}
            texts = {key: str(int(v)) if self.ranges[key].whole else repr(v) for key, v in ends.items()}
            self.runs((*first, *texts.items()), 0)

    @property
    def definition(self) -> str:
        """What must be the same for a search to go on."""
        ranges = {key: vars(one) for key, one in self.ranges.items()}
        return json.dumps([self.sampler, self.pruner, self.plan.axes, ranges, self.plan.fixed, self.plan.seeds])


def is_search(arguments: Iterable[str]) -> bool:
    """Whether the arguments ask for a search, not a grid."""
    return any(argument.removeprefix("--").startswith("search=") for argument in arguments)


def read_search(arguments: Sequence[str]) -> Search:
    """The search that arguments describe.

    Raises:
        UserError: an argument cannot be understood.
    """
    pairs = [argument.removeprefix("--").partition("=") for argument in arguments]
    own = {key: text for key, _, text in pairs if key in OWN}
    sampler, pruner, trials = own["search"], own.get("pruner", "median"), own.get("trials", "20")
    for key, value, known in (("search", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if value not in known:
            raise UserError(f"{key}={value} is unknown; choose {', '.join(known)}")
    if not re.fullmatch(r"[1-9]\d{0,5}", trials):
        raise UserError(f"trials={trials} must be a whole number from 1 on")
    ranges = {key: found for key, _, text in pairs if key not in OWN and (found := range_of(key, text))}
    rest = ["=".join((key, text)) if equals else key for key, equals, text in pairs if key not in {*OWN, *ranges}]
    plan = read_plan(rest)
    if plan.wandb_sweep or plan.launcher or plan.repeats:
        what = "wandb_sweep" if plan.wandb_sweep else next(iter(plan.launcher or plan.repeats))
        raise UserError(f"{what} has no meaning with search=, which runs on this machine; leave it out")
    if not ranges and not plan.axes:
        raise UserError(f"search={sampler} has nothing to search; give a range, for example optim.lr=1e-4..1e-2:log")
    search = Search(plan, ranges, sampler, pruner, int(trials))
    search.check()
    return search


def range_of(key: str, text: str) -> Range | None:
    """What LOW..HIGH, with or without :log, says; None for other values.

    Raises:
        UserError: LOW is not below HIGH, or not above 0 with :log.
    """
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
    match = re.fullmatch(rf"({number})\.\.({number})(:\w+)?", text, re.IGNORECASE)
    if match is None:
        return None
    low, high, log = float(match[1]), float(match[2]), match[3] == ":log"
    if match[3] not in (None, ":log") or not low < high or (log and low <= 0):
        raise UserError(
            f"{key}={text} is no range: write LOW..HIGH with LOW below HIGH; with :log behind it, LOW must be above 0"
        )
    return Range(low, high, log, all(re.fullmatch(r"[+-]?\d+", end) for end in match.group(1, 2)))


@dataclass
class Running:
    """A trial at work.

    Args:
        number: Optuna's.
        trial: Optuna's object.
        option: its settings.
        runs: all of its runs.
        left: those that have not ended, the first at work.
        process: of the first.
        told: epochs that the pruner knows.
    """

    number: int
    trial: Any
    option: Option
    runs: list[Trial]
    left: list[Trial]
    process: Process | None = None
    told: int = 0
    pruned: bool = False
    began_s: float = field(default_factory=time.monotonic)


def search(arguments: Sequence[str]) -> int:
    """Run what is left of a search and choose; 1 if a run failed."""
    what = read_search(arguments)
    Local().check(what.plan.jobs)
    optuna = _optuna()
    with sole(what.plan.out) as lock:
        study = _study(optuna, what)
        (what.plan.out / COMMAND).write_text(
            f"{shlex.join(['python', '-m', 'app.sweep', *arguments])}\n", encoding="utf-8"
        )
        failed = _run(optuna, study, what, lock)
        trials = [run for one in study.trials for run in what.runs(_option(one), one.number)]
        options = outcomes(trials)
        chosen = choose(options)
        store(options, chosen, what.plan.out)
    print(table(sorted(options, key=rank), chosen))
    if failed:
        print(f"\n{len(failed)} runs failed:\n" + "\n".join(f"  {trial.label}: {log_of(trial)}" for trial in failed))
    print(f"\n{what.plan.out}: results.csv, results.json, logs/; python -m app.report {what.plan.out} draws the runs")
    return int(bool(failed))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("search= needs Optuna, which is not installed: pip install optuna==5.0.0") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(optuna: Any, what: Search) -> Any:
    """The study in the sweep's folder, new or gone on with.

    Raises:
        UserError: the folder holds another search.
    """
    by = measure(what.runs(_lowest(what), 0)[0])
    file = str(what.plan.out / JOURNAL)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(file))
    pruner = optuna.pruners.NopPruner() if what.pruner == "none" else optuna.pruners.MedianPruner(STARTUP, 1)
    study = optuna.create_study(
        storage=storage,
        study_name="search",
        direction="maximize" if by.sign > 0 else "minimize",
        pruner=pruner,
        load_if_exists=True,
    )
    known = study.user_attrs.setdefault("definition", what.definition)
    if known != what.definition:
        raise UserError(f"out={what.plan.out} holds a search of other ranges or settings; choose another out=")
    study.set_user_attr("definition", what.definition)
    return study


def _lowest(what: Search) -> Option:
    texts = {key: str(int(one.low)) if one.whole else repr(one.low) for key, one in what.ranges.items()}
    return (*((key, values[0]) for key, values in what.plan.axes.items()), *texts.items())


def _option(trial: Any) -> Option:
    """The settings of a stored trial."""
    return tuple((key, value) for key, value in trial.user_attrs["option"])


def _run(optuna: Any, study: Any, what: Search, lock: int) -> list[Trial]:
    """Run trials until there are enough; returns the runs that failed."""
    states, jobs = optuna.trial.TrialState, min(what.plan.jobs or cores(), what.trials)
    begun = [one for one in study.trials if one.state == states.RUNNING and "option" in one.user_attrs]
    first = f" (the first {min(STARTUP, what.trials)} at random)" if what.sampler == "tpe" else ""
    print(
        f"{what.plan.out}: {what.trials} trials by {what.sampler}{first}, seeds of each: {len(what.plan.seeds)}, "
        f"{jobs} at a time; {len(study.trials) - len(begun)} have ended already, {len(begun)} go on",
        flush=True,
    )
    running: list[Running] = []
    failed: list[Trial] = []
    waiting = [optuna.trial.Trial(study, one._trial_id) for one in begun]
    with starting(jobs, what.trials * len(what.plan.seeds), lock) as start:
        try:
            while True:
                while len(running) < jobs and (waiting or len(study.trials) < what.trials):
                    running.append(_begin(optuna, study, what, waiting.pop(0) if waiting else None))
                if not running:
                    return failed
                for one in list(running):
                    _step(one, what, start)
                    if one.process is None:
                        running.remove(one)
                        failed += _tell(study, states, one)
                time.sleep(POLL_S)
        finally:
            stop([one.process for one in running if one.process is not None])


def _begin(optuna: Any, study: Any, what: Search, trial: Any) -> Running:
    """A new trial, or one that was begun before."""
    if trial is None:
        seed = (what.plan.seeds[0] * 1_000_003 + len(study.trials)) % 2**32
        study.sampler = (
            optuna.samplers.RandomSampler(seed=seed)
            if what.sampler == "random"
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        )
        trial = study.ask()
        trial.set_user_attr("option", what.option(trial))
    option = _option(trial)
    told = len(study.trials[trial.number].intermediate_values)
    runs = what.runs(option, trial.number)
    return Running(trial.number, trial, option, runs, list(runs), told=told)


def _step(one: Running, what: Search, start: Callable[[Trial], Process]) -> None:
    """Look at the run at work, start the next one where it has ended; without a process nothing is left to do."""
    if one.process is not None:
        ended = one.process.poll()
        if len(one.left) == len(what.plan.seeds):
            _judge(one)
        if one.pruned:
            stop([one.process])
        elif ended is None:
            return
        one.process = None
        if one.pruned or ended:
            return
        one.left.pop(0)
    while one.left and is_finished(one.left[0]):
        if len(one.left) == len(what.plan.seeds):
            _judge(one)
            if one.pruned:
                return
        one.left.pop(0)
    if one.left:
        one.process = start(one.left[0])


def _judge(one: Running) -> None:
    """Tell the pruner the epochs that it does not know, one after the other, and ask it."""
    run, name = stored(one.left[0]), f"val/{measure(one.left[0]).name}"
    values = [row[name] for row in run.rows if name in row] if run is not None else []
    for epoch, value in enumerate(values[one.told :], one.told):
        if value != value:
            continue
        one.trial.report(value, epoch)
        one.told = epoch + 1
        if one.trial.should_prune():
            one.pruned = True
            return


def _tell(study: Any, states: Any, one: Running) -> list[Trial]:
    """Tell Optuna how a trial ended, and the user; returns the run that failed, if one did."""
    seconds, name = time.monotonic() - one.began_s, f"trial {one.number}: {label(one.option)}"
    by = measure(one.runs[0])
    if one.pruned:
        study.tell(one.number, state=states.PRUNED)
        print(f"{name}: pruned after {one.told} epochs, {seconds:.0f} s", flush=True)
        return []
    found = [validated(run).get(by.name) for run in one.runs]
    values = [value for value in found if value is not None]
    if one.left or len(values) < len(found):
        study.tell(one.number, state=states.FAIL)
        print(f"{name}: failed, see {log_of((one.left or one.runs)[0])}", flush=True)
        return one.left[:1]
    mean = sum(values) / len(values)
    study.tell(one.number, mean)
    print(f"{name}: validation {NAMES[by.name]} {written(by.name, one_value(mean))}, {seconds:.0f} s", flush=True)
    return []
