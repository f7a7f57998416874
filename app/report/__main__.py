"""Compare runs: ``python -m app.report RUNS… [out=report.html|table.md|table.csv] [title=TEXT]``.

RUNS are folders in and below which runs are stored (``runs``), or ``wandb:entity/project`` for a project on W&B's
server. The page needs no network; ``.md`` and ``.csv`` write the table of settings alone. Further commands, each with
``--help``:

  python -m app.report results         docs/RESULTS.md: experiments beside published figures
  python -m app.report rebuild         runs all experiments that are missing, and writes it
  python -m app.report spike-trains    a picture of spike-train matching: loss curves and matched rasters
  python -m app.report workspace       the comparison as a workspace on W&B's server

(A folder of such a name is given as ./results.)
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ..arguments import read_arguments, wants_help
from ..errors import UserError, run_command
from ..markdown import counted
from .cli import read_results, write
from .groups import Group, group
from .page import page
from .tables import csv_text, markdown

COMMANDS = {"rebuild": "rebuild", "results": "results_page", "spike-trains": "spike_trains", "workspace": "workspace"}
"""Further commands and the modules that hold their ``main``."""
TITLE = "Spiking networks compared"
KEYS = ("out", "title")


def main(argv: list[str]) -> int:
    """Read runs, write the comparison; or do what a further command does."""
    if argv and argv[0] in COMMANDS:
        status: int = import_module(f".{COMMANDS[argv[0]]}", __package__).main(argv[1:])
        return status
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=KEYS, words="RUNS")
    out = Path(given.values.get("out", "report.html"))
    if out.suffix not in (".html", ".md", ".csv"):
        raise UserError(f"out={out}: the name must end with .html, .md or .csv")
    if not given.words:
        raise UserError("RUNS is missing: name a folder that holds runs, for example runs")
    results = read_results(given.words)
    groups = group(results)
    write(out, _content(out, groups, given.values.get("title", TITLE)))
    counts = {"unfinished": sum(one.unfinished for one in groups), "repeated": sum(len(o.repeats) for o in groups)}
    more = "".join(f", {n} of them {what}" for what, n in counts.items() if n)
    print(f"{out}: {counted(len(results), 'run')} of {counted(len(groups), 'setting')}{more}")
    return 0


def _content(out: Path, groups: Sequence[Group], title: str) -> str:
    if out.suffix == ".html":
        return page(groups, title)
    return markdown(groups) if out.suffix == ".md" else csv_text(groups)


if __name__ == "__main__":
    run_command(main)
