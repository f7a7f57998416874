"""What the commands of this package share: reading runs, writing a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..run_files import printable
from ..runs import stored_runs
from .online import online_runs
from .results import Result, result_of

ONLINE = "wandb:"
MOST_NAMED = 10
"""Runs that are left out, of which the rest is counted only."""


def read_results(sources: Sequence[str]) -> list[Result]:
    """The runs of this project in folders and on the server; what cannot be used is named on stderr and counted.

    Args:
        sources: folders, or ``wandb:entity/project``.

    Raises:
        UserError: there is none.
    """
    runs, left_out = stored_runs(Path(source) for source in sources if not source.startswith(ONLINE))
    known = {run.id for run in runs}
    for source in sources:
        if source.startswith(ONLINE):
            online, unusable = online_runs(source.removeprefix(ONLINE))
            runs += [run for run in online if run.id not in known]
            left_out += unusable
    for reason in left_out[:MOST_NAMED]:
        print(f"left out: {reason}", file=sys.stderr)
    if len(left_out) > MOST_NAMED:
        print(f"left out: {len(left_out) - MOST_NAMED} more of {len(left_out)}", file=sys.stderr)
    for run in runs:
        if run.troubles:
            print(f"{run.source} is {run.state}: {'; '.join(run.troubles)}", file=sys.stderr)
    if not runs:
        raise UserError(f"no run of this project in {printable(', '.join(sources))}: train one first")
    return [result_of(run) for run in runs]


def write(path: Path, text: str) -> None:
    """Write a file, with its folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"out={path} cannot be written: {error.strerror}") from None
