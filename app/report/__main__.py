"""Compare runs: ``python -m app.report RUNS… [-o report.html | table.md | table.csv] [--title TEXT]``.

RUNS are folders below which runs are stored (``runs``), or ``wandb:entity/project`` for a project on W&B's server. The
page needs no network; ``.md`` and ``.csv`` write the table of settings alone.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from app.errors import UserError, run_command
from app.report.groups import Group, group
from app.report.page import page
from app.report.results import is_of_this_project, result_of
from app.report.runs import Run, log_files, online_runs, stored_runs
from app.report.tables import csv_text, markdown

ONLINE = "wandb:"


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help shows how to call app.report")


def main(argv: list[str]) -> int:
    """Read runs, write the comparison."""
    arguments = _arguments(argv)
    runs = _read(arguments.runs)
    groups = group(result_of(run) for run in runs)
    out = Path(arguments.out)
    _write(out, _content(out, groups, arguments.title))
    unfinished = sum(one.unfinished for one in groups)
    left_out = f", {unfinished} of them unfinished" if unfinished else ""
    print(f"{out}: {len(runs)} runs of {len(groups)} settings{left_out}")
    return 0


def _arguments(argv: Sequence[str]) -> Namespace:
    usage, _, about = (__doc__ or "").partition("\n")
    parser = _Parser("python -m app.report", description=f"{usage}\n{about}")
    parser.add_argument("runs", nargs="+", metavar="RUNS", help=f"a folder, or {ONLINE}entity/project")
    parser.add_argument("-o", "--out", default="report.html", help="the file to write: .html, .md or .csv")
    parser.add_argument("--title", default="Spiking networks compared", help="of the page")
    arguments = parser.parse_args(argv)
    if Path(arguments.out).suffix not in (".html", ".md", ".csv"):
        raise UserError(f"-o {arguments.out}: the name must end with .html, .md or .csv")
    return arguments


def _read(sources: Sequence[str]) -> list[Run]:
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
    return ours


def _content(out: Path, groups: Sequence[Group], title: str) -> str:
    if out.suffix == ".html":
        return page(groups, title)
    return markdown(groups) if out.suffix == ".md" else csv_text(groups)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {path} cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    run_command(main)
