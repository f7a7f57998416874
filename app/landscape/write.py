"""Pictures, tables and numbers of a measurement."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files import replacing
from ..markdown import table
from ..pictures import save
from . import figures
from .fidelity import Agreement
from .measure import Line, Plane


def write_line(folder: Path, title: str, line: Line, along: str, name: str = "line") -> None:
    """``line.png`` and ``line.csv``, a row for each point with the spikes that changed since the point before."""
    labels = (title, axis_name(along))
    drawn = figures.predictions(line.steps, line.losses, line.smoothed, line.predicted, line.changes, labels)
    save(drawn, folder / f"{name}.png")
    changes = [("", "", ""), *((c.created, c.removed, c.shifted) for c in line.changes)]
    columns = [line.steps, line.losses, line.smoothed, *line.predicted.values()]
    names = ["step", "loss", "smoothed", *(f"predicted_{rule}" for rule in line.predicted)]
    rows = [[*row, *c] for *row, c in zip(*columns, changes, strict=True)]
    _write_csv(folder / f"{name}.csv", [*names, "created", "removed", "shifted"], rows)


def write_plane(folder: Path, title: str, plane: Plane, along: str) -> None:
    """``plane.png`` and ``plane.csv``."""
    labels = (title, axis_name(along), axis_name("random"))
    save(figures.plane(plane.steps, plane.losses, plane.arrows, labels), folder / "plane.png")
    rows = [
        [a, b, loss]
        for b, losses in zip(plane.steps, plane.losses, strict=True)
        for a, loss in zip(plane.steps, losses, strict=True)
    ]
    _write_csv(folder / "plane.csv", ["first", "second", "loss"], rows)


def axis_name(along: str) -> str:
    """A direction in words."""
    if along == "random":
        return "filter-normalised random direction, in weight norms"
    return f"downhill by the {along} rule's gradient, in weight norms"


def write_fidelity(folder: Path, found: dict[tuple[str, str], Agreement]) -> None:
    """``fidelity.csv``."""
    rows = [[layer, rule, *agreement] for (layer, rule), agreement in found.items()]
    _write_csv(folder / "fidelity.csv", ["layer", "rule", "cosine", "error", "signs", "directions"], rows)


def line_table(line: Line, along: str) -> str:
    """How well each rule's integrated gradient follows the loss, as Markdown."""
    rows = [[rule, f"{error:.2f}", *_truths(line, rule)] for rule, error in line.errors().items()]
    total = [sum(getattr(change, name) for change in line.changes) for name in ("created", "removed", "shifted")]
    where = [f"{place}: {what}" for place in ("near", "further out") for what in ("cosine", "same sign", "steepness")]
    return (
        f"On the line ({axis_name(along)}, |a| <= {line.steps[-1]:g}, {len(line.steps)} points): the error of the loss "
        "that a rule's integrated gradient predicts, in standard deviations of the smoothed true loss (1 = as good as "
        f"a constant); near the current point (|a| <= {line.near:.2g}) and further out the cosine of the predicted "
        "rises with the true ones, the share of stretches on which both rise or fall, and the steepness of the "
        "prediction (1: as steep as the true loss).\n\n"
        + table(["rule", "error", *where], rows)
        + "\nOver the whole line, spikes per sample: {:.1f} created, {:.1f} removed, {:.1f} shifted.\n".format(*total)
    )


def _truths(line: Line, rule: str) -> list[str]:
    truths = [line.truth(rule, is_near) for is_near in (True, False)]
    return [text for t in truths for text in (_number(t.cosine), f"{100 * t.signs:.0f} %", _number(t.size))]


def verdict(line: Line | None, found: dict[tuple[str, str], Agreement]) -> str:
    """Which rule's gradient tells the truth, and where, as Markdown.

    Args:
        line: measured along a line, or None.
        found: agreement by layer and rule; may be empty.
    """
    places: dict[str, dict[str, tuple[float, float]]] = {}
    if line:
        for is_near in (True, False):
            place = f"on the line, {'near' if is_near else 'further out'}"
            places[place] = {rule: line.truth(rule, is_near)[:2] for rule in line.predicted}
    for (layer, rule), a in found.items():
        places.setdefault(f"{layer}, at the current point", {})[rule] = (a.cosine, a.error)
    rows = [[place, _truest(rules), _listed(rules)] for place, rules in places.items()]
    return (
        "Which rule's gradient tells the truth, and where: the largest cosine with the change of the true loss. Rules "
        "whose cosines differ by less than two standard errors are named together; rules less than two standard "
        "errors above chance are not named.\n\n" + table(["where", "truest gradient", "cosines"], rows)
    )


def _truest(rules: dict[str, tuple[float, float]]) -> str:
    known = {rule: (cosine, error) for rule, (cosine, error) in rules.items() if cosine > 2 * error}
    best, error = max(known.values(), default=(0.0, 0.0))
    return " or ".join(r for r, (c, e) in known.items() if best - c <= 2 * math.hypot(error, e)) or "none"


def _listed(rules: dict[str, tuple[float, float]]) -> str:
    return ", ".join(f"{rule} –" if math.isnan(c) else f"{rule} {c:.2f} ± {e:.2f}" for rule, (c, e) in rules.items())


def fidelity_table(found: dict[tuple[str, str], Agreement], half_width: float) -> str:
    """Cosine and sign agreement for each layer and rule, as Markdown."""
    rows = [
        [
            layer,
            rule,
            f"{_number(a.cosine)} ± {_number(a.error)}",
            "–" if math.isnan(a.signs) else f"{100 * a.signs:.0f} %",
            str(a.n),
        ]
        for (layer, rule), a in found.items()
    ]
    return (
        "Each rule's gradient against central differences of the true loss in random filter-normalised directions of "
        f"one layer's weights (half-width {half_width:g} weight norms; chance: cosine 0, signs 50 %).\n\n"
        + table(["layer", "rule", "cosine", "same sign", "directions"], rows)
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(path, newline="") as file:
        csv.writer(file).writerows([names, *rows])
