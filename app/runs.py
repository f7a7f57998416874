"""A run's folder as plain data: ``config.yaml``, ``metrics.csv``, ``summary.json``. The one reader of all three.

Folders may come from anybody, or from a disk that failed: nothing in them is trusted, no file is waited for, and what
cannot be used is left out with a sentence that says what and why.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import yaml

from .config.read import brief, flatten
from .config.schema import keys
from .errors import UserError

CONFIG, METRICS, SUMMARY, ID = "config.yaml", "metrics.csv", "summary.json", "wandb_id"
INSIDE = ("checkpoints", "wandb", "landscape")
"""Folders of a run in which there is no other run."""
MOST_BYTES = {CONFIG: 2**20, SUMMARY: 2**22, ID: 2**10, METRICS: 2**31}
MOST_SETTINGS = 1000
LONGEST_NAME = 200
LARGEST = 2**63
State = Literal["finished", "failed", "unfinished", "damaged"]
Row = dict[str, Any]
"""The metrics of a step by name, with ``step`` and ``epoch``."""


class Unusable(ValueError):
    """A file, a folder or a run that cannot be used: the message says why, to be put behind its name."""


@dataclass
class Run:
    """One run: what it was, what it logged, how it ended.

    Args:
        source: its folder, or its address on a server.
        name: what its user called it.
        id: W&B's id; its folder where it has none.
        settings: by dotted key; a key that the run does not know has its default.
        rows: what it logged, by step.
        summary: its final numbers; empty before the end.
        state: ``finished``; ``failed``; ``unfinished``: goes on, or was killed; ``damaged``: came to its end, but its
            files are not whole any more.
        troubles: what could not be used, a sentence each.
        code_version: of the code that made it.
        data: the fingerprint of its data, whatever the split (:meth:`EventDataModule.data_fingerprint`).
    """

    source: str
    name: str = ""
    id: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    state: State = "unfinished"
    troubles: list[str] = field(default_factory=list)
    code_version: str | None = None
    data: str | None = None


def stored_runs(places: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """All runs in and below some folders, by path, and a sentence about everything that had to be left out.

    Raises:
        UserError: there is no such folder.
    """
    runs: dict[str, Run] = {}
    left_out: list[str] = []
    for place in places:
        if not os.path.isdir(place):
            raise UserError(f"{printable(str(place))} is no folder: give one that holds runs, for example runs")
        folders, unread = find_runs(place)
        left_out += unread
        for folder in folders:
            try:
                run = read_run(folder)
            except Unusable as reason:
                left_out.append(f"{printable(str(folder))}: {reason}")
            else:
                runs.setdefault(os.path.realpath(folder), run)
    return list(runs.values()), left_out


def find_runs(place: Path) -> tuple[list[Path], list[str]]:
    """The folders in and below a folder that hold a ``config.yaml``, and the folders that cannot be looked into.

    Links are followed, each folder is visited once.
    """
    found: list[Path] = []
    unread: list[str] = []
    visited: set[str] = set()

    def refused(error: OSError) -> None:
        unread.append(f"{printable(str(error.filename))} cannot be looked into ({error.strerror})")

    for folder, below, files in os.walk(place, onerror=refused, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        is_run = CONFIG in files or CONFIG in below
        if is_run:
            found.append(Path(folder))
        below[:] = sorted(name for name in below if not (is_run and name in INSIDE))
    return sorted(found), unread


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        Unusable: its ``config.yaml`` does not say what it is.
    """
    text = _text(folder / CONFIG)
    settings = settings_of(_yaml(text))
    known = _optional(folder / ID)
    name = settings.get("tracking.name") or folder.resolve().name
    run = Run(printable(str(folder)), printable(str(name)), known or os.path.realpath(folder), settings)
    origin = dict(re.findall(r"^# (code|data) (\S+)$", text, re.MULTILINE))
    try:
        run.rows, unread = read_metrics(folder / METRICS)
        run.troubles += [f"{METRICS}: {unread} cells or lines are no numbers"] if unread else []
    except Unusable as reason:
        run.troubles.append(str(reason))
    if os.path.lexists(folder / SUMMARY):
        run.state = _finish(run, folder / SUMMARY)
    elif not run.rows and not os.path.lexists(folder / METRICS):
        run.troubles.clear()  # it has only just begun
    run.code_version = _words(run.summary.get("code_version") or origin.get("code"))
    run.data = _words(run.summary.get("data_fingerprint") or origin.get("data"))
    return run


def _finish(run: Run, path: Path) -> State:
    """Read the summary; a run that has one came to its end."""
    try:
        run.summary = read_summary(path)
    except Unusable as reason:
        run.troubles.append(str(reason))
    else:
        steps, last = run.summary.get("steps"), max((row["step"] for row in run.rows), default=-1)
        if is_count(steps) and last < steps - 1 and not run.troubles:
            run.troubles.append(f"{METRICS} ends at step {last} of {steps - 1}")
    return "damaged" if run.troubles else "finished"


def settings_of(values: Any) -> dict[str, Any]:
    """Settings by dotted key from nested ones, those that are missing with their defaults.

    Raises:
        Unusable: they are not those of a run of this project.
    """
    if not isinstance(values, Mapping):
        raise Unusable(f"{CONFIG} holds no settings")
    given = list(islice(flatten({str(key): value for key, value in values.items()}), MOST_SETTINGS + 1))
    if len(given) > MOST_SETTINGS:
        raise Unusable(f"{CONFIG} holds more than {MOST_SETTINGS} settings")
    own = {printable(name): _plain(value) for name, value in given}
    for name in ("task", "rule"):
        if not isinstance(own.get(name), str) or not own[name]:
            raise Unusable(f"it names no {name}, so it is no run of this project")
    if not is_count(own.get("seed")):
        raise Unusable(f"its seed is {brief(own.get('seed'))}, no whole number from 0 on")
    return {name: key.default for name, key in keys().items()} | own


def read_metrics(path: Path) -> tuple[list[Row], int]:
    """The rows of a table of metrics by step, and how many of its cells and lines cannot be used.

    Raises:
        Unusable: it is no such table.
    """
    rows: dict[int, Row] = {}
    unread = 0
    with _open(path) as file:
        try:
            lines = csv.reader(file)
            first, second, *names = next(lines, ("", ""))
            if (first, second) != ("step", "epoch"):
                raise Unusable(f"{METRICS} does not begin with step,epoch")
            for cells in lines:
                step = _count(cells[0]) if cells else None
                if step is None or len(cells) != len(names) + 2:
                    unread += 1
                    continue
                row = rows.setdefault(step, {"step": step})
                pairs = [("epoch", _count(cells[1])), *((n, _number(c)) for n, c in zip(names, cells[2:], strict=True))]
                row |= {name: value for name, value in pairs if value is not None}
                unread += sum(cell != "" for cell in cells[1:]) - sum(value is not None for _, value in pairs)
        except (csv.Error, ValueError, OSError) as error:
            raise error if isinstance(error, Unusable) else Unusable(f"{METRICS} cannot be read ({error})") from None
    return [rows[step] for step in sorted(rows)], unread


def read_summary(path: Path) -> dict[str, Any]:
    """The final numbers of a run.

    Raises:
        Unusable: the file does not hold them.
    """
    try:
        summary = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, Unusable) else Unusable(f"{SUMMARY} is not JSON") from None
    if not isinstance(summary, dict):
        raise Unusable(f"{SUMMARY} holds no final numbers")
    return summary


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 on, of a size that can be."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold; NaN and infinity are."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST)


def printable(text: str) -> str:
    """Text of others for a screen, a page or a table: control characters are written out, what is too long is cut."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: LONGEST_NAME + 1])
    return safe if len(text) <= LONGEST_NAME else f"{safe[:LONGEST_NAME]}…"


def _plain(value: Any) -> Any:
    """A value as a setting may have it: text, a number, a flag, nothing, or a list of these; others as text."""
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool) or is_number(value):
        return value
    if isinstance(value, list) and len(value) <= MOST_SETTINGS and not any(isinstance(v, list | dict) for v in value):
        return [_plain(item) for item in value]
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to write out a number of 4300 digits
        return f"a {type(value).__name__}"
    return (
        printable(text)
        if len(text) <= LONGEST_NAME
        else f"{printable(text[:60])} {sha256(text.encode()).hexdigest()[:8]}"
    )


def _words(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) and value else None


def _count(cell: str) -> int | None:
    return int(cell) if re.fullmatch(r"\d{1,18}", cell, re.ASCII) else None


def _number(cell: str) -> float | None:
    try:
        return float(cell) if len(cell) < 50 else None
    except ValueError:
        return None


def _yaml(text: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader)):
            raise Unusable(f"{CONFIG} repeats parts of itself by reference")
        return yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise error if isinstance(error, Unusable) else Unusable(f"{CONFIG} is not valid YAML") from None


def _optional(path: Path) -> str | None:
    """The one word that a small file holds, if it does."""
    try:
        return _words(_text(path).strip())
    except Unusable:
        return None


def _text(path: Path) -> str:
    with _open(path) as file:
        try:
            return file.read()
        except (OSError, ValueError) as error:
            raise Unusable(f"{path.name} cannot be read ({error})") from None


def _open(path: Path) -> TextIO:
    """Open a file to read; anything but a file of ordinary size is refused, and nothing is waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except FileNotFoundError:
        raise Unusable(f"{path.name} is missing") from None
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read ({error.strerror})") from None
    about = os.fstat(handle)
    if stat.S_ISREG(about.st_mode) and about.st_size <= MOST_BYTES[path.name]:
        return open(handle, encoding="utf-8", errors="replace", newline="")
    os.close(handle)
    raise Unusable(f"{path.name} is {'too large' if stat.S_ISREG(about.st_mode) else 'no file'}")
