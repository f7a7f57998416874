"""Which rule's gradient tells the truth, at which scale, and when in training: ``python -m app.landscape study RUNS…``.

  RUNS                  folders in and below which runs are stored; each is a network, seeds are what intervals run over
  epochs=0,1,3          after how many epochs: 0 is before training, others ask for keep_after_epochs=[1,3]; or best
  scales=0.01,0.03,0.1,0.3   standard deviations of the smoothing along a line; 1 is as long as the weights
  lines=24              random filter-normalised lines through each network
  pairs=6               antithetic pairs of points for each line and scale, at least 4
  samples=64            validation samples over which the loss is averaged
  out=FOLDER            where to write (default: docs/landscape/study)
  --layers              move the weights of each layer alone too

Writes study.png, study.svg, study.csv (a row for each network, epoch, scale and rule), means.csv (the means over
networks, their intervals and numbers) and study.md. What was measured is kept in landscape/ of each run's folder: the
command goes on where it was stopped. Other key=value arguments change the settings that the checkpoints hold
(data.root=).
"""

from __future__ import annotations

import csv
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import read_arguments, wants_help
from ..config import import_plugins
from ..errors import UserError
from ..files import replacing
from ..markdown import table
from ..pictures import save
from ..report.experiments import public_command
from ..resume.checkpoint import BEST, kept_name
from ..run_files import CHECKPOINTS, LANDSCAPE
from ..runs import Run, stored_runs
from ..training.folder import make_folder
from .checkpoint import load
from .directions import filter_normalised_direction
from .fidelity import layer_directions
from .figures import Curve, truth_over_scales
from .networks import Mean, ceiling, mean_cosine
from .scales import KINDS, LEAST_PAIRS, POINT, SMOOTHED, SQUARE, TRUE, cosine, measured_slopes, reliability

ALL = "all layers"
OUTPUT_SPIKES = "output spikes"
SILENT, FLAT, NO_SLOPE = "silent", "flat", "no slope"
USUAL = {
    "epochs": "0,best",
    "scales": "0.01,0.03,0.1,0.3",
    "lines": "24",
    "pairs": "6",
    "samples": "64",
    "out": "docs/landscape/study",
}


@dataclass(frozen=True)
class Plan:
    """What is measured of each network."""

    epochs: tuple[str, ...]
    scales: tuple[float, ...]
    lines: int
    pairs: int
    samples: int
    layers: bool


class Truth(NamedTuple):
    """One network at one time of its training, at one scale: cosines of a rule's slopes with those of the loss.

    Args:
        run: the network.
        trained_by: its rule.
        seed: its seed.
        epoch: how long it was trained.
        place: which weights are moved.
        scale: σ.
        rule: whose gradient.
        point, smoothed: the cosines, see :mod:`app.landscape.scales`.
        reliability: the share of signal in the measured slopes, see :func:`app.landscape.scales.reliability`.
        signs: share of lines on which the point prediction has the true sign.
        lines: how many.
        output_spikes: for each sample, at the weights.
        why: the point cosine is not defined: ``silent``, the loss is the same everywhere because no output neuron
            fires at the weights; ``flat``, the loss is the same everywhere although one does; ``no slope``, the rule's
            slopes are all 0; else empty.
    """

    run: str
    trained_by: str
    seed: int
    epoch: str
    place: str
    scale: float
    rule: str
    point: float
    smoothed: float
    reliability: float
    signs: float
    lines: int
    output_spikes: float
    why: str


def main(argv: list[str]) -> int:
    """Measure what is not measured yet, and write the study."""
    if wants_help(argv):
        print(__doc__)
        return 0
    arguments = read_arguments(argv, flags=["layers"], words="RUNS")
    given = USUAL | arguments.values
    import_plugins([argument for argument in argv if "plugins=" in argument])
    plan = _plan(given, "layers" in arguments.flags)
    overrides = [f"{key}={value}" for key, value in given.items() if key not in USUAL]
    if not arguments.words:
        raise UserError("RUNS is missing: name a folder that holds runs, for example runs/sweeps/digits-rule")
    runs = [run for run in stored_runs(map(Path, arguments.words))[0] if run.state == "finished"]
    if not runs:
        raise UserError(f"no finished run in {', '.join(arguments.words)}: train some first")
    out = Path(given["out"])
    make_folder(out)
    found: list[Truth] = []
    for run in runs:
        for epoch in plan.epochs:
            began_s = time.perf_counter()
            found += _truths(run, epoch, plan, overrides)
            print(f"{run.source}, epoch {epoch}: {time.perf_counter() - began_s:.0f} s", flush=True)
    _write(out, found, plan, public_command(["python", "-m", "app.landscape", "study", *argv]))
    print(f"{out}: study.csv, study.md, study.png, study.svg")
    return 0


def _plan(given: dict[str, str], layers: bool) -> Plan:
    least = {"lines": 2, "pairs": LEAST_PAIRS, "samples": 1}
    counts = {name: _whole(name, given[name], number) for name, number in least.items()}
    try:
        scales = tuple(sorted(float(text) for text in given["scales"].split(",")))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise UserError(f"scales={given['scales']} must be numbers above 0 with commas between, such as 0.01,0.1")
    epochs = tuple(given["epochs"].split(","))
    if not all(epoch == "best" or epoch.isdecimal() for epoch in epochs):
        raise UserError(f"epochs={given['epochs']} must be whole numbers from 0 on, or best, with commas between")
    return Plan(epochs, scales, counts["lines"], counts["pairs"], counts["samples"], layers)


def _whole(name: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text} must be a whole number from {least}")
    return int(text)


def _truths(run: Run, epoch: str, plan: Plan, overrides: Sequence[str]) -> Iterator[Truth]:
    """A network at one time, from what was measured before or is measured now."""
    trained_by, seed = str(run.settings["rule"]), int(run.settings["seed"])
    measured = _slopes(Path(run.source), epoch, plan, overrides)
    spikes = float(measured.pop(OUTPUT_SPIKES))
    for place, slopes in measured.items():
        rules = [name.removeprefix(f"{POINT} ") for name in slopes if name.startswith(f"{POINT} ")]
        for s, scale in enumerate(plan.scales):
            at = {name: values[:, s] for name, values in slopes.items()}
            for rule in rules:
                cosines = {kind: cosine(at[f"{kind} {rule}"], at[TRUE]) for kind in KINDS}
                yield Truth(
                    run=run.name,
                    trained_by=trained_by,
                    seed=seed,
                    epoch=epoch,
                    place=place,
                    scale=scale,
                    rule=rule,
                    reliability=reliability(at[TRUE], at[SQUARE]),
                    signs=float((at[f"{POINT} {rule}"] * at[TRUE] > 0).mean()),
                    lines=plan.lines,
                    output_spikes=spikes,
                    why=_why(at[TRUE], at[f"{POINT} {rule}"], spikes),
                    **cosines,
                )


def _why(true: NDArray[np.float64], predicted: NDArray[np.float64], output_spikes: float) -> str:
    """Why a cosine is not defined, if it is not."""
    if not true.any():
        return FLAT if output_spikes else SILENT
    return "" if predicted.any() else NO_SLOPE


def _slopes(folder: Path, epoch: str, plan: Plan, overrides: Sequence[str]) -> dict[str, Any]:
    """Arrays of slopes for each place, and the output spikes of a sample under their own name."""
    name = {"0": BEST, "best": BEST}.get(epoch) or kept_name(int(epoch))
    path = folder / CHECKPOINTS / name
    if not path.is_file():
        raise UserError(
            f"{folder} has no {CHECKPOINTS}/{name}: train with keep_after_epochs=[{epoch}], or leave it out"
        )
    stored = folder / LANDSCAPE / f"slopes-{epoch}.npz"
    what = repr((SQUARE, plan.scales, plan.lines, plan.pairs, plan.samples, plan.layers, path.stat().st_mtime_ns))
    if (known := _stored(stored, what)) is not None:
        return known
    loaded = load(path, overrides, plan.samples, untrained=epoch == "0")
    subject, seed = loaded.subject, loaded.config.seed
    lines = {ALL: [filter_normalised_direction(subject.parameters, seed + k) for k in range(plan.lines)]}
    if plan.layers:
        lines |= {
            layer: layer_directions(subject.parameters, index, plan.lines, seed)
            for layer, index in subject.weights.items()
        }
    spikes = np.array(int(subject.spikes()[-1].sum()) / subject.samples)
    found = {place: measured_slopes(subject, ways, plan.scales, plan.pairs, seed) for place, ways in lines.items()}
    stored.parent.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {"what": np.array(what), OUTPUT_SPIKES: spikes}
    for place, slopes in found.items():
        arrays |= {f"{place}/{name}": values for name, values in slopes.items()}
    with replacing(stored, "wb") as file:
        np.savez(file, **arrays)
    return {**found, OUTPUT_SPIKES: spikes}


def _stored(path: Path, what: str) -> dict[str, Any] | None:
    """What an earlier session measured in the same way, of the same checkpoint."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError):
        return None
    if str(arrays.pop("what", "")) != what:
        return None
    found: dict[str, Any] = {OUTPUT_SPIKES: arrays.pop(OUTPUT_SPIKES)}
    for name, values in arrays.items():
        place, _, slopes = name.partition("/")
        found.setdefault(place, {})[slopes] = values
    return found


def _write(out: Path, found: Sequence[Truth], plan: Plan, command: str) -> None:
    with replacing(out / "study.csv", newline="") as file:
        csv.writer(file).writerows([Truth._fields, *found])
    with replacing(out / "means.csv", newline="") as file:
        heading = ("place", "trained_by", "epoch", "scale", "rule", "kind", *Mean._fields, "why")
        csv.writer(file).writerows([heading, *_means(found)])
    trained = list(dict.fromkeys(one.trained_by for one in found))
    places = list(dict.fromkeys(one.place for one in found))
    networks = len({one.run for one in found})
    title = f"Each rule's slopes and those of the smoothed loss: {plan.lines} lines through {networks} networks"
    for kind in ("png", "svg"):
        save(truth_over_scales(_panels(found, ALL), plan.epochs, trained, title), out / f"study.{kind}")
    text = [
        f"# {title}\n",
        f"    {command}\n",
        "Cosines, means over networks with 95 % intervals over networks (Student's t of Fisher's z), and in how many "
        "networks the cosine is defined. *point*: the gradient at the weights, which training uses; *smoothed*: the "
        "gradient smoothed as the loss is, at the same places. The ceiling is what a perfect point prediction could be "
        f"expected to reach, from the agreement of {plan.pairs} antithetic pairs of each line, averaged over "
        "networks; a negative one says that no signal was seen; *smoothed* may exceed it. *silent*: no output neuron "
        "fires and the loss is the same everywhere on the lines; *flat*: one fires and the loss still is; *no slope*: "
        "the rule's slopes are all 0. The scale is the standard deviation of the smoothing along a line, 1 is as long "
        "as the weights; chance is 0. Data: [study.csv](study.csv), [means.csv](means.csv).\n",
        "![cosine over scales, by rule, epoch and training rule](study.svg)\n",
        *(f"{_table(found, place, plan)}\n" for place in places),
    ]
    with replacing(out / "study.md") as file:
        file.write("\n".join(text))


def _of(found: Sequence[Truth], **wanted: Any) -> list[Truth]:
    return [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]


def _mean(rows: Sequence[Truth], kind: str) -> Mean:
    return mean_cosine(getattr(one, kind) for one in rows)


def _ceiling(rows: Sequence[Truth]) -> Mean:
    """Of rows of all rules; a network's slopes are the same for each."""
    return ceiling({one.run: one.reliability for one in rows}.values())


def _why_of(rows: Sequence[Truth]) -> str:
    """Why cosines are not defined, with numbers of networks where there are several reasons."""
    counts = Counter(one.why for one in rows if one.why)
    if len(counts) == 1 and (why := next(iter(counts))) and counts[why] == len(rows):
        return why
    return ", ".join(f"{n} {why}" for why, n in counts.items())


def _means(found: Sequence[Truth]) -> Iterator[tuple[Any, ...]]:
    """Rows of means.csv."""
    for key in dict.fromkeys((one.place, one.trained_by, one.epoch, one.scale) for one in found):
        rows = _of(found, **dict(zip(("place", "trained_by", "epoch", "scale"), key, strict=True)))
        yield *key, "", "ceiling", *_ceiling(rows), ""
        for rule in dict.fromkeys(one.rule for one in rows):
            of_rule = _of(rows, rule=rule)
            for kind in KINDS:
                yield *key, rule, kind, *_mean(of_rule, kind), _why_of(of_rule) if kind == POINT else ""


def _panels(found: Sequence[Truth], place: str) -> dict[tuple[str, str], dict[str, Curve] | str]:
    """For each panel (epoch, training rule): curves by rule and, named "", the ceiling; or why there are none."""
    panels: dict[tuple[str, str], dict[str, Curve] | str] = {}
    for epoch, trained_by in dict.fromkeys((one.epoch, one.trained_by) for one in found):
        rows = _of(found, epoch=epoch, trained_by=trained_by, place=place)
        scales = sorted({one.scale for one in rows})
        curves = {}
        for rule in dict.fromkeys(one.rule for one in rows):
            at = [_of(rows, rule=rule, scale=scale) for scale in scales]
            points = [_mean(one, POINT) for one in at]
            curves[rule] = Curve(
                scales,
                [p.mean for p in points],
                [(p.low, p.high) for p in points],
                [_mean(one, SMOOTHED).mean for one in at],
            )
        top = [_ceiling(_of(rows, scale=scale)) for scale in scales]
        curves[""] = Curve(scales, [t.mean for t in top], [(t.low, t.high) for t in top], [])
        panels[epoch, trained_by] = curves if any(one.why not in (SILENT, FLAT) for one in rows) else _why_of(rows)
    return panels


def _table(found: Sequence[Truth], place: str, plan: Plan) -> str:
    rules = list(dict.fromkeys(one.rule for one in found))
    heading = ["trained by", "epoch", "scale", "ceiling", *(f"{r}, {k}" for r in rules for k in KINDS)]
    lines = []
    for trained_by, epoch in dict.fromkeys((one.trained_by, one.epoch) for one in found):
        for scale in plan.scales:
            rows = _of(found, trained_by=trained_by, epoch=epoch, place=place, scale=scale)
            cells = [_cell(_of(rows, rule=rule), kind) for rule in rules for kind in KINDS]
            lines.append([trained_by, epoch, f"{scale:g}", str(_ceiling(rows)), *cells])
    return f"## {place[0].upper()}{place[1:]} moved\n\n{table(heading, lines)}"


def _cell(rows: Sequence[Truth], kind: str) -> str:
    mean = _mean(rows, kind)
    return str(mean) if mean.n else _why_of(rows) or "–"
