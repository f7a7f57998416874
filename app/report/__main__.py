"""Compare runs: ``python -m app.report RUNS… [-o report.html | table.md | table.csv] [--title TEXT]``.

RUNS are folders below which runs are stored (``runs``), or ``wandb:entity/project`` for a project on W&B's server. The
page needs no network; ``.md`` and ``.csv`` write the table of settings alone. Further commands, each with ``--help``:

  python -m app.report results         docs/RESULTS.md: experiments beside published figures
  python -m app.report spike-trains    a picture of spike-train matching: loss curves and matched rasters
  python -m app.report workspace       the comparison as a workspace on W&B's server

(A folder of such a name is given as ./results.)
"""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ..errors import UserError, run_command
from .cli import ONLINE, Parser, read_results, write
from .groups import Group, group
from .page import page
from .tables import csv_text, markdown

COMMANDS = {"results": "results_page", "spike-trains": "spike_trains", "workspace": "workspace"}
"""Further commands and the modules that hold their ``main``."""


def main(argv: list[str]) -> int:
    """Read runs, write the comparison; or do what a further command does."""
    if argv and argv[0] in COMMANDS:
        return import_module(f".{COMMANDS[argv[0]]}", __package__).main(argv[1:])
    arguments = _arguments(argv)
    results = read_results(arguments.runs)
    groups = group(results)
    out = Path(arguments.out)
    write(out, _content(out, groups, arguments.title))
    unfinished = sum(one.unfinished for one in groups)
    left_out = f", {unfinished} of them unfinished" if unfinished else ""
    print(f"{out}: {len(results)} runs of {len(groups)} settings{left_out}")
    return 0


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = Parser("app.report", __doc__)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("runs", nargs="+", metavar="RUNS", help=f"a folder, or {ONLINE}entity/project")
    parser.add_argument("-o", "--out", default="report.html", help="the file to write: .html, .md or .csv")
    parser.add_argument("--title", default="Spiking networks compared", help="of the page")
    arguments = parser.parse_args(argv)
    if Path(arguments.out).suffix not in (".html", ".md", ".csv"):
        raise UserError(f"-o {arguments.out}: the name must end with .html, .md or .csv")
    return arguments


def _content(out: Path, groups: Sequence[Group], title: str) -> str:
    if out.suffix == ".html":
        return page(groups, title)
    return markdown(groups) if out.suffix == ".md" else csv_text(groups)


if __name__ == "__main__":
    run_command(main)
