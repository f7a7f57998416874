"""Pictures, tables and numbers of a measurement."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.landscape.measure import Line, Plane
from app.landscape.subject import Subject
from app.probes import figures
from app.probes.fidelity import Agreement


def heading(subject: Subject) -> str:
    """What was looked at, in one line."""
    config = subject.config
    return (
        f"{config.task}, trained by the {config.rule} rule for {subject.epochs} epochs, {config.loss} loss over "
        f"{subject.samples} validation samples"
    )


def write_line(folder: Path, subject: Subject, line: Line, along: str) -> None:
    """``line.png`` and ``line.csv``."""
    labels = (heading(subject), axis_name(along))
    figure = figures.predictions(line.steps, line.losses, line.smoothed, line.predicted, line.changes, labels)
    figure.savefig(folder / "line.png", dpi=140)
    names = [
        "step",
        "loss",
        "smoothed",
        *(f"predicted_{rule}" for rule in line.predicted),
        "created",
        "removed",
        "shifted",
    ]
    changes = [("", "", ""), *((c.created, c.removed, c.shifted) for c in line.changes)]
    columns = [line.steps, line.losses, line.smoothed, *line.predicted.values()]
    _write_csv(folder / "line.csv", names, [[*row, *c] for *row, c in zip(*columns, changes, strict=True)])


def write_plane(folder: Path, subject: Subject, plane: Plane, along: str) -> None:
    """``plane.png`` and ``plane.csv``."""
    labels = (heading(subject), axis_name(along), axis_name("random"))
    figures.plane(plane.steps, plane.losses, plane.arrows, labels).savefig(folder / "plane.png", dpi=140)
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
    rows = [[rule, f"{error:.2f}", f"{100 * line.signs()[rule]:.0f} %"] for rule, error in line.errors().items()]
    total = [sum(getattr(change, name) for change in line.changes) for name in ("created", "removed", "shifted")]
    return (
        f"On the line ({axis_name(along)}, |a| <= {line.steps[-1]:g}, {len(line.steps)} points): the error of the loss "
        "that a rule's integrated gradient predicts, in standard deviations of the smoothed true loss (1 = as good as "
        "a constant), and the share of stretches on which both rise or fall together.\n\n"
        + _markdown(["rule", "error of the prediction", "same sign"], rows)
        + "\nOver the whole line, spikes per sample: {:.1f} created, {:.1f} removed, {:.1f} shifted.\n".format(*total)
    )


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
        + _markdown(["layer", "rule", "cosine", "same sign", "directions"], rows)
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _markdown(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
