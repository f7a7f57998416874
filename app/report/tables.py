"""The table of settings, and the list of runs, as Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from .. import markdown as md
from ..config.help import value_text
from ..run_files import is_number
from .groups import Group, Spread
from .intervals import CONFIDENCE
from .results import Result


class Column(NamedTuple):
    """A metric in the table of settings: heading, split, name, and how a value is written."""

    title: str
    split: str
    name: str
    shown: Callable[[Spread], str]


def percent(value: Spread) -> str:
    """Shares, as 97.83 ± 0.12 % [97.53, 98.13]: standard deviation and interval of the mean, within 0 and 100 %."""
    low, high = (100 * min(max(end, 0.0), 1.0) for end in value.interval)
    return f"{_pair(100 * value.mean, 100 * value.std, 2)} %{_interval(low, high, 2, value)}"


def short(value: Spread) -> str:
    """Numbers of which four digits of the mean count: 0.01234 ± 0.00005, 12.34 ± 0.70, 6536 ± 120; with interval."""
    size = abs(value.mean)
    digits = max(3 - math.floor(math.log10(size)) if 0 < size < math.inf else 0, 0)
    low, high = value.interval  # of what is counted or measured here, nothing is less than 0
    return _pair(value.mean, value.std, digits) + _interval(max(low, 0.0), high, digits, value)


def whole(value: Spread) -> str:
    """Numbers that are whole for one trial, such as epochs."""
    return _pair(value.mean, value.std, 0 if math.isnan(value.std) else 1)


def _pair(mean: float, std: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


def _interval(low: float, high: float, digits: int, value: Spread) -> str:
    return "" if math.isnan(value.interval[0]) else f" [{low:.{digits}f}, {high:.{digits}f}]"


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
    Column("synaptic operations", "test", "decision_synaptic_operations", short),
    Column("time to first spike", "test", "time_to_first_spike_steps", short),
    Column("best epoch", "val", "epoch", whole),
)
MISSING = "–"
NOTE = (
    f"Mean ± standard deviation over finished trials [{100 * CONFIDENCE:g} % interval of the mean, Student's t]. "
    "Test numbers belong to the epoch that validation chose; accuracy "
    "is by the setting's readout; spikes and synaptic operations until the decision, and the time of the first output "
    "spike (in steps), are those of the test split. "
    "A setting's name leaves out what most settings of its rule share."
)


def written(group: Group, column: Column) -> str:
    """Mean ± standard deviation of a column, or a dash."""
    value = group.spread(column.split, column.name)
    return MISSING if math.isnan(value.mean) else column.shown(value)


def trials(group: Group) -> str:
    """How many trials there are: 3, or 3 (+1 unfinished, 2 repeated, 2 code versions)."""
    states = Counter(result.run.state for result in group.results if not result.finished)
    more = [f"+{n} {state}" for state, n in sorted(states.items())]
    more += [f"{len(group.repeats)} repeated"] if group.repeats else []
    more += [f"{len(group.code_versions)} code versions"] if len(group.code_versions) > 1 else []
    return f"{len(group.finished)}" + (f" ({', '.join(more)})" if more else "")


def remarks(groups: Sequence[Group]) -> list[str]:
    """What a reader must know before the numbers are believed, a sentence each."""
    found = [remark for group in groups for remark in group.remarks]
    versions = {version for group in groups for version in group.code_versions}
    if len(versions) > 1:
        found.insert(0, f"The runs were made by {len(versions)} versions of the code: {', '.join(sorted(versions))}")
    return found


def markdown(groups: Sequence[Group]) -> str:
    """A table for each task; only the columns in which something was measured."""
    parts = []
    for task in dict.fromkeys(group.task for group in groups):
        rows = [group for group in groups if group.task == task]
        columns, is_mixed = measured(rows), has_versions(rows)
        heading = ["setting", "trials", *(c.title for c in columns), *(["code"] if is_mixed else [])]
        lines = [[g.label, trials(g), *(written(g, c) for c in columns), *code(g, is_mixed)] for g in rows]
        parts.append(f"## {task}\n\n{md.table(heading, lines)}")
    noted = "".join(f"- {md.cell(remark)}\n" for remark in remarks(groups))
    return "\n".join([*parts, *([noted] if noted else []), f"{NOTE}\n"])


def has_versions(groups: Sequence[Group]) -> bool:
    """Whether different code made the runs of a table, which then says in every row which did."""
    return len({version for group in groups for version in group.code_versions}) > 1


def code(group: Group, is_shown: bool = True) -> list[str]:
    """The cell with the code that made the trials."""
    return [", ".join(group.code_versions) or MISSING] if is_shown else []


def measured(groups: Sequence[Group]) -> list[Column]:
    """The columns in which some group has a value; where there is an accuracy, the loss is left to the CSV file."""
    filled = [c for c in COLUMNS if any(g.spread(c.split, c.name).n for g in groups)]
    has_accuracy = any(c.name.startswith("accuracy") for c in filled)
    return [c for c in filled if not (has_accuracy and c.name == "loss")]


def csv_text(groups: Sequence[Group]) -> str:
    """One row for each setting, in full precision: mean, standard deviation, interval and number of every metric."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{c.split}/{c.name}" for c in COLUMNS]
    heading = [f"{name} {what}" for name in names for what in ("mean", "std", "low", "high", "n")]
    keys = differing(groups)
    about = ["task", "rule", "setting", "finished", "unfinished", "repeated", "code", "data"]
    writer.writerow(map(inert, [*about, *heading, *keys]))
    for g in groups:
        spreads = [g.spread(c.split, c.name) for c in COLUMNS]
        numbers = [n for v in spreads for n in (_cell(v.mean), _cell(v.std), *map(_cell, v.interval), v.n)]
        own = [g.task, g.rule, g.label, len(g.finished), g.unfinished, len(g.repeats), *code(g), g.data or ""]
        writer.writerow([*map(inert, own), *numbers, *(inert(setting_text(g, key)) for key in keys)])
    return file.getvalue()


def differing(groups: Sequence[Group]) -> list[str]:
    """The settings in which some groups differ, in the order in which they are declared."""
    own = [group.results[0].setting() for group in groups]
    return [k for k in dict.fromkeys(k for one in own for k in one) if len({one.get(k) for one in own}) > 1]


def setting_text(group: Group, key: str) -> str:
    """A setting as one would write it on the command line."""
    return value_text(group.results[0].settings.get(key))


def inert(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def settings_html(groups: Sequence[Group]) -> str:
    """Rows of the table of settings, a body for each task, each with the columns measured there."""
    return "\n".join(_task_html(task, groups) for task in dict.fromkeys(group.task for group in groups))


def _task_html(task: str, groups: Sequence[Group]) -> str:
    rows = [(index, group) for index, group in enumerate(groups) if group.task == task]
    own = [group for _, group in rows]
    columns, keys = measured(own), [key for key in differing(own) if key != "rule"]
    titles = ["trials", *keys, *(c.title for c in columns), *(["code"] if has_versions(own) else [])]
    heading = "".join(f'<th scope="col">{escape(title)}</th>' for title in ("setting", *titles))
    body = "\n".join(_setting_html(index, group, columns, keys, has_versions(own)) for index, group in rows)
    return (
        f'<table class="cards sortable" data-task="{escape(task)}"><caption>{escape(task)}</caption><thead><tr>'
        f"{heading}</tr></thead>\n<tbody>{body}</tbody></table>"
    )


def _setting_html(index: int, group: Group, columns: Sequence[Column], keys: Sequence[str], is_mixed: bool) -> str:
    cells = _cell_html("trials", trials(group), len(group.finished))
    cells += "".join(_cell_html(key, setting_text(group, key), group.results[0].settings.get(key)) for key in keys)
    cells += "".join(_cell_html(c.title, written(group, c), group.spread(c.split, c.name).mean) for c in columns)
    cells += "".join(_cell_html("code", text) for text in code(group, is_mixed))
    words = " ".join(f"{key}={setting_text(group, key)}" for key in keys)
    return (
        f'<tr data-group="{index}" data-rule="{escape(group.rule)}" data-words="{escape(words)}"><th scope="row">'
        f'<label><input type="checkbox" name="group" value="{index}"><svg class="mark" aria-hidden="true"></svg>'
        f"{escape(group.label)}</label></th>{cells}</tr>"
    )


def _cell_html(title: str, cell: str, value: object = None) -> str:
    """A cell; ``value`` is the number that it is sorted by."""
    missing = ' class="missing"' if cell == MISSING else ""
    number = f' data-value="{value:.17g}"' if is_number(value) and math.isfinite(value) else ""
    text, bracket, interval = escape(cell).partition(" [")
    small = f" <small>{bracket.strip()}{interval}</small>" if number and interval else f"{bracket}{interval}"
    return f'<td data-title="{escape(title)}"{missing}{number}>{text}{small}</td>'


def remarks_html(groups: Sequence[Group]) -> str:
    """What a reader must know before the numbers are believed, as a list; empty if there is nothing."""
    found = remarks(groups)
    if not found:
        return ""
    items = "".join(f"<li>{escape(remark)}</li>" for remark in found)
    return (
        f'<details class="notice" open><summary>{md.counted(len(found), "remark")} on these runs</summary>'
        f"<ul>{items}</ul></details>"
    )


def runs_html(groups: Sequence[Group]) -> str:
    """Rows of the list of runs; repeated ones have no number, as nothing of them is drawn."""
    lines, row = [], 0
    for index, group in enumerate(groups):
        for result in group.results:
            lines.append(_run_html(row, index, group, result, result.run.state))
            row += 1
        lines += [_run_html(None, index, group, result, "repeated") for result, _ in group.repeats]
    return "\n".join(lines)


def _run_html(row: int | None, index: int, group: Group, result: Result, state: str) -> str:
    name, seconds = result.measure.name, result.train_s
    cells = [
        _cell_html("setting", group.label),
        f'<td data-title="state"><span class="state {state}">{state}</span></td>',
        _cell_html("seed", str(result.seed), result.seed),
        _cell_html("epochs", f"{result.epochs:g}", result.epochs),
        _cell_html("validation", _of(result.best, name), result.best.get(name)),
        _cell_html("spikes", _of(result.test, "decision_spikes"), result.test.get("decision_spikes")),
        _cell_html("training", f"{seconds:.0f} s" if seconds else MISSING, seconds),
        _cell_html("code", result.run.code_version or MISSING),
    ]
    box = "" if row is None else f'<input type="checkbox" name="run" value="{row}">'
    return (
        f'<tr data-group="{index}" data-task="{escape(result.task)}" data-rule="{escape(result.rule)}"><th scope="row">'
        f'<label title="{escape(result.run.source)}">{box}{escape(result.run.name)}</label></th>{"".join(cells)}</tr>'
    )


def _of(values: dict[str, float], name: str) -> str:
    shown = percent if name.startswith("accuracy") else short
    return shown(one(values[name])) if name in values else MISSING
