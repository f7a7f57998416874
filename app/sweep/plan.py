"""What a sweep consists of: options (a grid over axes) times seeds, each a run in a folder of its own."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import Config, load_config
from ..config.schema import keys, value_of
from ..errors import UserError
from ..run_files import CONFIG, Unusable
from ..runs import read_run

OWN = ("out", "trials", "jobs", "wandb_sweep")
REPEATS = ("data.fold",)
"""Keys whose values are trials of an option, as seeds are: nobody chooses among the parts of a cross-validation."""
LONGEST_NAME = 100
Option = tuple[tuple[str, str], ...]
"""The values of the axes in one point of the grid."""


@dataclass(frozen=True)
class Trial:
    """One run.

    Args:
        option: the values of the axes.
        repeat: what tells it from other trials of the option, beside the seed.
        seed: its seed.
        arguments: everything that ``train.py`` is told.
        config: what that means.
        out: the run's folder.
    """

    option: Option
    repeat: Option
    seed: int
    arguments: tuple[str, ...]
    config: Config
    out: Path

    @property
    def label(self) -> str:
        """The run as a person would call it: optim.lr=1e-3, data.fold=2, seed 0."""
        return ", ".join([label(self.option), *(f"{key}={value}" for key, value in self.repeat), f"seed {self.seed}"])


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Args:
        out: its folder.
        fixed: settings that all runs share.
        axes: the values of each searched key.
        repeats: the values of keys that make trials, not options, such as the folds of a cross-validation.
        seeds: of the trials of each option.
        jobs: runs at the same time; None for as many as the launcher has room for.
        wandb_sweep: the file to write the grid to for W&B, instead of running it.
        launcher: ``launcher`` and ``launcher.SETTING``, as they were given.
    """

    out: Path
    fixed: dict[str, str]
    axes: dict[str, tuple[str, ...]]
    repeats: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    jobs: int | None
    wandb_sweep: str | None = None
    launcher: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> list[Option]:
        """All points of the grid."""
        return _points(self.axes)

    def trials(self) -> list[Trial]:
        """All runs, seed by seed and fold by fold, so that an unfinished sweep has tried every option equally often.

        Raises:
            UserError: an option cannot be trained, or a run's folder holds another run.
        """
        names = _names(self.options)
        order = itertools.product(self.seeds, _points(self.repeats), self.options)
        found = [self.trial(option, repeat, seed, names[option]) for seed, repeat, option in order]
        for trial in found:
            _check_folder(trial)
        return found

    def trial(self, option: Option, repeat: Option, seed: int, name: str) -> Trial:
        """The run of an option; ``name`` begins that of its folder."""
        parts = [name, *filter(None, [_readable(repeat)]), f"s{seed}"]
        out = self.out / "-".join(parts)
        settings = {"tracking.group": self.out.name, "trainer.enable_progress_bar": "false"}
        settings |= self.fixed | dict(option) | dict(repeat) | {"seed": str(seed), "out": str(out)}
        arguments = tuple(f"{key}={value}" for key, value in settings.items())
        return Trial(option, repeat, seed, arguments, load_config(arguments), out)


def read_plan(arguments: Iterable[str]) -> Plan:
    """The sweep that ``key=value`` arguments describe; several values, with commas between them, make an axis.

    Raises:
        UserError: an argument cannot be understood.
    """
    given = dict(_split(argument) for argument in _distinct(arguments))
    launcher = {key: _alone(key, given.pop(key)) for key in list(given) if key.partition(".")[0] == "launcher"}
    own = {key: _alone(key, given.pop(key)) for key in OWN if key in given}
    if "ckpt" in given:
        raise UserError("ckpt= has no meaning for a sweep, which goes on by itself; leave it out")
    start = given.pop("seed", ("0",))
    several = {key: values for key, values in given.items() if len(values) > 1}
    repeats = {key: several.pop(key) for key in REPEATS if key in several}
    fixed = {key: values[0] for key, values in given.items() if len(values) == 1}
    seeds = _seeds(start, own.get("trials"))
    jobs = _count("jobs", own["jobs"]) if "jobs" in own else None
    return Plan(
        Path(own.get("out") or f"runs/sweeps/{_usual_name(given)}"),
        fixed,
        several,
        repeats,
        seeds,
        jobs,
        own.get("wandb_sweep"),
        launcher,
    )


def _points(axes: dict[str, tuple[str, ...]]) -> list[Option]:
    return [tuple(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values())]


def _distinct(arguments: Iterable[str]) -> list[str]:
    found = [argument.removeprefix("--") for argument in arguments]
    keys = [argument.partition("=")[0] for argument in found]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"{key} is given twice: write all its values in one argument, {key}=A,B")
    return found


def _split(argument: str) -> tuple[str, tuple[str, ...]]:
    key, equals, text = argument.partition("=")
    values = split_values(text)
    if not equals or not key or "" in values:
        raise UserError(
            f"expected key=value or key=value,value,…, got {argument!r}; --help shows how to call app.sweep"
        )
    if len(set(values)) < len(values):
        raise UserError(f"{key}={text} names a value twice; leave one of them out")
    return key, values


def split_values(text: str) -> tuple[str, ...]:
    """Values between commas; a list, or a value in quotation marks, keeps its own: ``[64,fc10],[64,fc5,fc10]``."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        opens = char in "'\"" and not quote and not parts[-1].strip()
        if opens or char == quote:
            quote = char if opens else ""
            continue
        depth += (char in "[{") - (char in "]}")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return tuple(part.strip() for part in parts)


def _alone(key: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise UserError(f"{key} takes one value, got {','.join(values)}")
    return values[0]


def _count(key: str, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise UserError(f"{key}={text} must be a whole number from 1 on")
    return int(text)


def _seeds(start: Sequence[str], trials: str | None) -> tuple[int, ...]:
    for text in start:
        if not re.fullmatch(r"\d{1,9}", text):
            raise UserError(f"seed={text} must be a whole number from 0 on")
    if len(start) > 1:
        if trials:
            raise UserError(f"seed={','.join(start)} names the trials already; leave trials={trials} out")
        return tuple(map(int, start))
    return tuple(range(int(start[0]), int(start[0]) + _count("trials", trials or "1")))


def label(option: Option) -> str:
    """``optim.lr=1e-3, loss=count``; the only option of a sweep without axes is called so."""
    return ", ".join(f"{key}={value}" for key, value in option) or "the only option"


def _usual_name(given: dict[str, tuple[str, ...]]) -> str:
    """The configuration and the axes: mnist_antlr-lr-grad_clip."""
    what = Path(given["config"][0]).stem if len(given.get("config", ())) == 1 else given.get("task", ("digits",))[0]
    return "-".join([what, *(key.rpartition(".")[2] for key, values in given.items() if len(values) > 1)])


def _names(options: list[Option]) -> dict[Option, str]:
    """A folder name for each option: readable, and different from all others."""
    names = {option: _readable(option) or "trial" for option in options}
    if len(set(names.values())) == len(options) and max(map(len, names.values())) <= LONGEST_NAME:
        return names
    return {option: f"{name[: LONGEST_NAME - 9]}-{_digest(option)}" for option, name in names.items()}


def _readable(option: Option) -> str:
    text = "_".join(f"{key.rpartition('.')[2]}={value}" for key, value in option)
    return re.sub(r"[^\w.=+-]+", "-", re.sub(r"[][{}]", "", text)).strip("-")


def _digest(option: Option) -> str:
    return hashlib.sha256(repr(option).encode()).hexdigest()[:8]


def _check_folder(trial: Trial) -> None:
    """Refuse a folder whose run has other settings: it would be taken for this one."""
    try:
        read_run(trial.out)
        stored = replace(load_config([f"config={trial.out / CONFIG}"]), ckpt=None)
    except (Unusable, UserError):  # there is none, or none that can be read
        return
    if stored != trial.config:
        raise UserError(
            f"{trial.out} holds a run with other settings than this sweep's ({_difference(stored, trial.config)}); "
            "choose another out="
        )


def _difference(stored: Config, wanted: Config) -> str:
    pairs = {key: (value_of(stored, key), value_of(wanted, key)) for key in keys() if key not in ("config", "ckpt")}
    key, (old, new) = next((key, pair) for key, pair in pairs.items() if pair[0] != pair[1] and key != "tracking.mode")
    return f"{key}={old} there, {new} here"
