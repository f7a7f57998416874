"""The comparison as one HTML file: data, style and script are inside, nothing is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from ..colours import RULE_COLOURS, SETTING_COLOURS, SETTING_COLOURS_DARK, rule_colour
from ..markdown import counted
from .groups import Group, Spread
from .intervals import t_quantile
from .results import Result, thin
from .tables import NOTE, remarks_html, runs_html, settings_html

SCRIPTS = ("charts.js", "views.js", "page.js")
CURVES = {
    "train": ("accuracy", "loss"),
    "val": (
        *("accuracy", "accuracy_first", "accuracy_count", "loss"),
        *("decision_spikes", "spikes_per_sample", "time_to_first_spike_steps"),
    ),
    "layer": ("spikes_per_sample", "silent_share", "dead_share"),
}
DIGITS = 5
"""Significant digits of a number on the page."""


def page(groups: Sequence[Group], title: str) -> str:
    """The whole page.

    Args:
        groups: all settings.
        title: of the page.
    """
    template = Template(_asset("page.html"))
    return template.substitute(
        title=escape(title),
        about=escape(_about(groups)),
        css=_colours(groups) + _asset("page.css"),
        data=json.dumps(_data(groups), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script="\n".join(_asset(name) for name in SCRIPTS),
        settings=settings_html(groups),
        note=escape(NOTE),
        remarks=remarks_html(groups),
        runs=runs_html(groups),
    )


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _colours(groups: Sequence[Group]) -> str:
    rules = sorted({*RULE_COLOURS, *(group.rule for group in groups)})
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in (*((r, rule_colour(r, d)) for r in rules), *_numbered(more)))
        for d, more in ((False, SETTING_COLOURS), (True, SETTING_COLOURS_DARK))
    )
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _numbered(colours: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"setting{k}", colour) for k, colour in enumerate(colours)]


def _about(groups: Sequence[Group]) -> str:
    runs = [result for group in groups for result in group.results]
    unfinished = sum(group.unfinished for group in groups)
    versions = sorted({run.run.code_version or "unknown" for run in runs})
    repeated = sum(len(group.repeats) for group in groups)
    left_out = f" ({unfinished} unfinished, left out of the means)" if unfinished else ""
    left_out += f" and {repeated} repeated" if repeated else ""
    return (
        f"{counted(len(runs), 'run')}{left_out} of {counted(len(groups), 'setting')}; code {', '.join(versions)}; "
        f"written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    )


def _data(groups: Sequence[Group]) -> dict[str, Any]:
    results = [(index, result) for index, group in enumerate(groups) for result in group.results]
    shown = [_shown_settings(result) for _, result in results]
    common = {key: value for key, value in shown[0].items() if all(one.get(key) == value for one in shown)}
    own = [{key: value for key, value in one.items() if key not in common} for one in shown]
    most = max(max(len(group.finished) for group in groups), 2)
    return {
        "groups": [_group(g) for g in groups],
        "runs": [
            _run(index, result) | {"settings": settings} for (index, result), settings in zip(results, own, strict=True)
        ],
        "common": common,
        "t": {n: _number(t_quantile(n)) for n in range(2, most + 1)},
        "colours": len(SETTING_COLOURS),
    }


def _shown_settings(result: Result) -> dict[str, str]:
    own = {"code_version": result.run.code_version, "data_fingerprint": result.run.data}
    return {key: _plain(value) for key, value in (result.settings | own).items()}


def _group(group: Group) -> dict[str, Any]:
    names = sorted({name for result in group.results for name in result.curves if _is_shown(name)})
    curves = {name: [[x, *_spread(value)] for x, value in thin(group.curve(name))] for name in names}
    metrics = {
        split: sorted({name for result in group.finished for name in values(result) if not name.startswith("class")})
        for split, values in (("test", _test), ("val", _best))
    }
    spreads = {split: {name: _spread(group.spread(split, name)) for name in names} for split, names in metrics.items()}
    about = {"task": group.task, "rule": group.rule, "label": group.label}
    measure = {"measure": group.measure.name, "sign": group.measure.sign}
    return about | measure | {"finished": len(group.finished), "curves": curves} | spreads


def _run(index: int, result: Result) -> dict[str, Any]:
    curves = {
        name: [[x, _number(y)] for x, y in thin(points)] for name, points in result.curves.items() if _is_shown(name)
    }
    values = {
        split: {name: _number(value) for name, value in numbers(result).items() if name in CURVES["val"]}
        for split, numbers in (("test", _test), ("val", _best))
    }
    about = {"group": index, "name": result.run.name, "state": result.run.state, "seed": result.seed}
    return about | values | {"curves": curves}


def _test(result: Result) -> dict[str, float]:
    return result.test


def _best(result: Result) -> dict[str, float]:
    return result.best


def _is_shown(name: str) -> bool:
    split, *layer, last = name.split("/")
    if layer:
        return split == "val" and last in CURVES["layer"]
    return last in CURVES[split]


def _spread(value: Spread) -> list[float | int | None]:
    return [_number(value.mean), _number(value.std), value.n]


def _number(value: float) -> float | None:
    """A number short enough for a page; null where JSON has none."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
