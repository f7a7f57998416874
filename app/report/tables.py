"""The table of settings, and the list of runs, as Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from .groups import Group, Spread
from .results import Result


class Column(NamedTuple):
    """A metric in the table of settings: heading, split, name, and how a value is written."""

    title: str
    split: str
    name: str
    shown: Callable[[Spread], str]


def percent(value: Spread) -> str:
    """Shares, as 97.83 ± 0.12 %."""
    return f"{_pair(100 * value.mean, 100 * value.std, 2)} %"


def short(value: Spread) -> str:
    """Numbers of which four digits of the mean count: 0.01234 ± 0.00005, 12.34 ± 0.70, 6536 ± 120."""
    size = abs(value.mean)
    digits = 3 - math.floor(math.log10(size)) if 0 < size < math.inf else 0
    return _pair(value.mean, value.std, max(digits, 0))


def whole(value: Spread) -> str:
    """Numbers that are whole for one trial, such as epochs."""
    return _pair(value.mean, value.std, 0 if math.isnan(value.std) else 1)


def _pair(mean: float, std: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


def one(value: float) -> Spread:
    """A value of a single run."""
    return Spread(value, math.nan, 1)


COLUMNS = (
    Column("validation accuracy", "val", "accuracy", percent),
    Column("test accuracy", "test", "accuracy", percent),
    Column("by first spike", "test", "accuracy_first", percent),
    Column("by spike count", "test", "accuracy_count", percent),
    Column("validation loss", "val", "loss", short),
    Column("test loss", "test", "loss", short),
    Column("decision spikes", "test", "decision_spikes", short),
    Column("spikes per sample", "test", "spikes_per_sample", short),
    Column("time to first spike", "test", "time_to_first_spike_steps", short),
    Column("best epoch", "val", "epoch", whole),
)
MISSING = "–"
NOTE = (
    "Mean ± standard deviation over finished trials. Test numbers belong to the epoch that validation chose; accuracy "
    "is by the setting's readout; spikes and time to the first output spike (in steps) are those of the test split. "
    "A setting's name leaves out what most settings of its rule share."
)


def written(group: Group, column: Column) -> str:
    """Mean ± standard deviation of a column, or a dash."""
    value = group.spread(column.split, column.name)
    return MISSING if math.isnan(value.mean) else column.shown(value)


def trials(group: Group) -> str:
    """How many trials there are: 3, or 3 (+1 unfinished)."""
    return f"{len(group.finished)}" + (f" (+{group.unfinished} unfinished)" if group.unfinished else "")


def markdown(groups: Sequence[Group]) -> str:
    """A table for each task; only the columns in which something was measured."""
    parts = []
    for task in dict.fromkeys(group.task for group in groups):
        rows = [group for group in groups if group.task == task]
        columns = measured(rows)
        lines = [[g.label, trials(g), *(written(g, c) for c in columns)] for g in rows]
        table = markdown_table(["setting", "trials", *(c.title for c in columns)], lines)
        parts.append(f"## {task}\n\n{table}")
    return "\n".join([*parts, f"{NOTE}\n"])


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def measured(groups: Sequence[Group]) -> list[Column]:
    """The columns in which some group has a value; where there is an accuracy, the loss is left to the CSV file."""
    filled = [c for c in COLUMNS if any(g.spread(c.split, c.name).n for g in groups)]
    has_accuracy = any(c.name.startswith("accuracy") for c in filled)
    return [c for c in filled if not (has_accuracy and c.name == "loss")]


def csv_text(groups: Sequence[Group]) -> str:
    """One row for each setting: mean, standard deviation and number of trials of every metric, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{c.split}/{c.name}" for c in COLUMNS]
    heading = [f"{name} {what}" for name in names for what in ("mean", "std")]
    writer.writerow(["task", "rule", "setting", "finished", "unfinished", *heading])
    for g in groups:
        numbers = [_cell(v) for c in COLUMNS for v in g.spread(c.split, c.name)[:2]]
        writer.writerow([g.task, g.rule, g.label, len(g.finished), g.unfinished, *numbers])
    return file.getvalue()


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def settings_html(groups: Sequence[Group]) -> str:
    """Rows of the table of settings, a body for each task, each with the columns measured there."""
    return "\n".join(_task_html(task, groups) for task in dict.fromkeys(group.task for group in groups))


def _task_html(task: str, groups: Sequence[Group]) -> str:
    rows = [(index, group) for index, group in enumerate(groups) if group.task == task]
    columns = measured([group for _, group in rows])
    titles = "".join(f'<th scope="col">{escape(c.title)}</th>' for c in columns)
    body = "\n".join(_setting_html(index, group, columns) for index, group in rows)
    return (
        f'<table class="cards" data-task="{escape(task)}"><caption>{escape(task)}</caption><thead><tr>'
        f'<th scope="col">setting</th><th scope="col">trials</th>{titles}</tr></thead>\n<tbody>{body}</tbody></table>'
    )


def _setting_html(index: int, group: Group, columns: Sequence[Column]) -> str:
    cells = "".join(_cell_html(c.title, written(group, c)) for c in columns)
    return (
        f'<tr data-group="{index}" data-rule="{escape(group.rule)}"><th scope="row"><label>'
        f'<input type="checkbox" name="group" value="{index}"><svg class="mark" aria-hidden="true"></svg>'
        f"{escape(group.label)}</label></th>{_cell_html('trials', trials(group))}{cells}</tr>"
    )


def _cell_html(title: str, cell: str) -> str:
    missing = ' class="missing"' if cell == MISSING else ""
    return f'<td data-title="{escape(title)}"{missing}>{cell}</td>'


def runs_html(groups: Sequence[Group]) -> str:
    """Rows of the list of runs."""
    pairs = [(index, result) for index, group in enumerate(groups) for result in group.results]
    return "\n".join(_run_html(row, index, result) for row, (index, result) in enumerate(pairs))


def _run_html(row: int, index: int, result: Result) -> str:
    name, state = result.measure.name, result.run.state
    cells = {
        "state": f'<span class="state {state}">{state}</span>',
        "seed": str(result.seed),
        "epochs": f"{result.epochs:g}",
        "validation": _of(result.best, name),
        "spikes": _of(result.test, "decision_spikes"),
        "training": f"{result.train_s:.0f} s" if result.train_s else MISSING,
        "code": escape(str(result.settings.get("code_version", MISSING))),
    }
    body = "".join(_cell_html(title, cell) for title, cell in cells.items())
    return (
        f'<tr data-group="{index}" data-task="{escape(result.task)}" data-rule="{escape(result.rule)}"><th scope="row">'
        f'<label><input type="checkbox" name="run" value="{row}">{escape(result.run.name or result.run.id)}</label>'
        f"</th>{body}</tr>"
    )


def _of(values: dict[str, float], name: str) -> str:
    shown = percent if name.startswith("accuracy") else short
    return shown(one(values[name])) if name in values else MISSING
