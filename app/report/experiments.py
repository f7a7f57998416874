"""Which experiments ``docs/RESULTS.md`` shows, and the figures that others have published for them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError

COMMAND = "command.txt"
"""In a sweep's folder: the command that ran it last."""
RECORD = ".json"
PRIVATE = ("data.root", "data.cache")
"""Keys whose absolute paths say something about one machine only."""


@dataclass(frozen=True)
class Published:
    """Figures from the literature for one task.

    Args:
        source: where they stand.
        rows: each with ``name``, ``accuracy``, ``spikes``, and ``settings`` (by dotted key) if one of ours is alike;
            how they came about: ``input``, ``counts`` (what a spike count counts), ``augmentation``, ``selection``.
    """

    source: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Experiment:
    """One section of the page.

    Args:
        title: its heading.
        command: what runs it; its ``out=`` names the folder of the runs.
        about: what the reader should know.
        published: names of tables in ``app/report/published.yaml``.
        choose: only the settings that validation chose may show their test numbers, as in a search.
        recordings: how many recordings the folds of a cross-validation test together.
        then: commands that follow, which write what is included.
        include: Markdown files that other commands wrote.
        cpu_hours: about how long all of it takes on one core.
    """

    title: str
    command: str
    about: str = ""
    published: list[str] = field(default_factory=list)
    choose: bool = False
    recordings: int | None = None
    then: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    cpu_hours: float | None = None

    @property
    def folder(self) -> Path:
        """Where the runs are."""
        (out,) = [word.partition("=")[2] for word in shlex.split(self.command) if word.startswith("out=")]
        return Path(out)

    @property
    def record(self) -> str:
        """The name of the file that keeps the figures of its runs."""
        return f"{self.folder.name}{RECORD}"

    @property
    def shown_command(self) -> str:
        """The command that ran last in the folder, or the one that would; without the paths of this machine."""
        stored = self.folder / COMMAND
        return public_command(shlex.split(stored.read_text(encoding="utf-8") if stored.is_file() else self.command))


def public_command(words: Sequence[str]) -> str:
    """A command line as anybody may give it: without the paths of this machine."""
    return shlex.join(map(_public, words))


def _public(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}=/path/to/data" if key in PRIVATE and Path(value).is_absolute() else word


def read_experiments(path: Path) -> list[Experiment]:
    """The experiments that a YAML file lists, in its order.

    Raises:
        UserError: the file cannot be read, or an entry is wrong.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} must be a list of experiments, each with a title and a command")
    experiments = [_experiment(entry, f"{path}, experiment {number}") for number, entry in enumerate(entries, 1)]
    records = [one.record for one in experiments]
    if twice := [one for one in experiments if records.count(one.record) > 1]:
        raise UserError(
            f"{path}: two experiments write into {twice[0].folder.name}; give each an out=FOLDER of its own name"
        )
    return experiments


def _experiment(entry: Any, where: str) -> Experiment:
    known = {item.name: item for item in fields(Experiment)}
    given = entry if isinstance(entry, Mapping) else {}
    needed = [name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    if missing := [name for name in needed if not given.get(name)]:
        raise UserError(f"{where}: {missing[0]} is missing; write '{missing[0]}: …'")
    if unknown := [str(name) for name in given if name not in known]:
        raise UserError(f"{where}: unknown key {unknown[0]}; it may have {', '.join(known)}")
    experiment = Experiment(**{**given, "command": " ".join(str(given["command"]).split())})
    if sum(word.startswith("out=") for word in _words(experiment.command, where)) != 1:
        raise UserError(f"{where}: the command needs one out=FOLDER, the folder of its runs")
    if unknown := [name for name in experiment.published if name not in published()]:
        raise UserError(
            f"{where}: published: {unknown[0]} is not in published.yaml, which has {', '.join(published())}"
        )
    return experiment


def _words(command: str, where: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UserError(f"{where}: the command cannot be read ({error}); mend it") from None


@cache
def published() -> dict[str, Published]:
    """All published figures by the name of their table."""
    text = (files(__package__) / "published.yaml").read_text(encoding="utf-8")
    return {name: Published(**table) for name, table in yaml.safe_load(text).items()}
