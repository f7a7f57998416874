"""The files of a run's folder: their names, and the one parser of each.

Folders may come from anybody, or from a disk that failed: nothing in them is trusted, no file is waited for.
:mod:`app.runs` makes runs of them, :mod:`app.resume` goes on with them. ``config.yaml`` is also a file of settings that
a user may name: as such :mod:`app.config.read` reads it, which says what is wrong in which line.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeGuard

import yaml

CONFIG, METRICS, SUMMARY, ID = "config.yaml", "metrics.csv", "summary.json", "wandb_id"
CHECKPOINTS, LANDSCAPE, PICTURES, RASTER, WANDB = "checkpoints", "landscape", "pictures", "raster.png", "wandb"
MOST_BYTES = {CONFIG: 2**20, SUMMARY: 2**22, ID: 2**10, METRICS: 2**31}
LONGEST_NAME = 200
LARGEST = 2**63
Row = dict[str, Any]
"""The metrics of a step by name, with ``step`` and ``epoch``."""


class Unusable(ValueError):
    """A file, a folder or a run that cannot be used: the message says why, to be put behind its name."""


def read_settings(path: Path) -> tuple[Any, str]:
    """What a ``config.yaml`` holds, not checked yet, and its text.

    Raises:
        Unusable: the file is no YAML, or repeats parts of itself.
    """
    text = text_of(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, loader)):
            raise Unusable(f"{CONFIG} repeats parts of itself by reference")
        return yaml.load(text, loader), text
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise error if isinstance(error, Unusable) else Unusable(f"{CONFIG} is not valid YAML") from None


def metric_lines(lines: Iterable[str]) -> tuple[list[str], Iterator[tuple[int, dict[str, str]] | None]]:
    """The names of the metrics of a table by step, and its lines: the step with its cells by name, as they are written.

    Empty cells are left out; ``epoch`` is among the names of cells. A line that is none of the table's is None. A line
    is taken only when it is asked for.

    Args:
        lines: those of the file, the heading first.

    Raises:
        Unusable: it is no such table.
    """
    table = csv.reader(lines)
    first, second, *names = next(table, ("", ""))
    if (first, second) != ("step", "epoch"):
        raise Unusable(f"{METRICS} does not begin with step,epoch")

    def rows() -> Iterator[tuple[int, dict[str, str]] | None]:
        for cells in table:
            step = _count(cells[0]) if cells else None
            if step is None or len(cells) != len(names) + 2:
                yield None
            else:
                yield step, {name: cell for name, cell in zip(("epoch", *names), cells[1:], strict=True) if cell}

    return names, rows()


def read_metrics(path: Path) -> tuple[list[Row], int]:
    """The rows of a table of metrics by step, and how many of its cells and lines cannot be used.

    Raises:
        Unusable: it is no such table.
    """
    rows: dict[int, Row] = {}
    unread = 0
    with open_file(path) as file:
        try:
            for line in metric_lines(file)[1]:
                if line is None:
                    unread += 1
                    continue
                step, cells = line
                numbers = {name: (_count if name == "epoch" else _number)(cell) for name, cell in cells.items()}
                known = {name: value for name, value in numbers.items() if value is not None}
                rows.setdefault(step, {"step": step}).update(known)
                unread += len(cells) - len(known)
        except (csv.Error, ValueError, OSError) as error:
            raise error if isinstance(error, Unusable) else Unusable(f"{METRICS} cannot be read ({error})") from None
    return [rows[step] for step in sorted(rows)], unread


def read_summary(path: Path) -> dict[str, Any]:
    """The final numbers of a run.

    Raises:
        Unusable: the file does not hold them.
    """
    try:
        summary = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, Unusable) else Unusable(f"{SUMMARY} is not JSON") from None
    if not isinstance(summary, dict):
        raise Unusable(f"{SUMMARY} holds no final numbers")
    return summary


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number from 0 on, of a size that can be."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number that a float can hold; NaN and infinity are."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST)


def printable(text: str) -> str:
    """Text of others for a screen, a page or a table: control characters are written out, what is too long is cut."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: LONGEST_NAME + 1])
    return safe if len(text) <= LONGEST_NAME else f"{safe[:LONGEST_NAME]}…"


def text_of(path: Path) -> str:
    """The text of a file of a run."""
    with open_file(path) as file:
        try:
            return file.read()
        except (OSError, ValueError) as error:
            raise Unusable(f"{path.name} cannot be read ({error})") from None


def open_file(path: Path) -> TextIO:
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


def _count(cell: str) -> int | None:
    return int(cell) if re.fullmatch(r"\d{1,18}", cell, re.ASCII) else None


def _number(cell: str) -> float | None:
    try:
        return float(cell) if len(cell) < 50 else None
    except ValueError:
        return None
