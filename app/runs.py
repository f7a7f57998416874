"""Runs as plain data, from the files of their folders (:mod:`app.run_files`).

What cannot be used is left out with a sentence that says what and why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from .config.read import brief, flatten
from .config.schema import keys
from .errors import UserError
from .run_files import (
    CHECKPOINTS,
    CONFIG,
    ID,
    LANDSCAPE,
    LONGEST_NAME,
    METRICS,
    PICTURES,
    SUMMARY,
    WANDB,
    Row,
    Unusable,
    is_count,
    is_number,
    printable,
    read_metrics,
    read_settings,
    read_summary,
    text_of,
)

INSIDE = (CHECKPOINTS, WANDB, LANDSCAPE, PICTURES)
"""Folders of a run in which there is no other run."""
MOST_SETTINGS = 1000
State = Literal["finished", "failed", "unfinished", "damaged"]


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
    values, text = read_settings(folder / CONFIG)
    settings = settings_of(values)
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


def _optional(path: Path) -> str | None:
    """The one word that a small file holds, if it does."""
    try:
        return _words(text_of(path).strip())
    except Unusable:
        return None
