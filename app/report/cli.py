"""What the commands of this package share: arguments, reading runs, writing a file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..errors import UserError
from .results import Result, is_of_this_project, result_of
from .runs import log_files, online_runs, stored_runs

ONLINE = "wandb:"


class Parser(ArgumentParser):
    """An argument parser whose errors are errors for the user.

    Args:
        command: what is called, e.g. ``app.report results``.
        about: the help text.
    """

    def __init__(self, command: str, about: str | None) -> None:
        super().__init__(f"python -m {command}", description=about)
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Refuse arguments."""
        raise UserError(f"{message}; --help shows how to call {self.command}")


def read_results(sources: Sequence[str]) -> list[Result]:
    """The runs of this project in folders and on the server.

    Args:
        sources: folders, or ``wandb:entity/project``.

    Raises:
        UserError: there is none.
    """
    online = [source.removeprefix(ONLINE) for source in sources if source.startswith(ONLINE)]
    folders = [Path(source) for source in sources if not source.startswith(ONLINE)]
    runs, unreadable = stored_runs(dict.fromkeys(path for folder in folders for path in log_files(folder)))
    for path in unreadable:
        print(f"{path} holds no run: it was cut off at its start, or is damaged", file=sys.stderr)
    stored = {run.id for run in runs}
    runs += [run for project in online for run in online_runs(project) if run.id not in stored]
    ours = [run for run in runs if is_of_this_project(run)]
    if len(ours) < len(runs):
        print(f"{len(runs) - len(ours)} runs are left out: they name no task, rule and seed", file=sys.stderr)
    if not ours:
        raise UserError(
            f"no W&B run of this project in {', '.join(sources)}: train one first, with tracking.mode=offline or online"
        )
    return [result_of(run) for run in ours]


def write(path: Path, text: str) -> None:
    """Write a file, with its folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {path} cannot be written: {error.strerror}") from None
