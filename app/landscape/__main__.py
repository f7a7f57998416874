"""Whose gradient tells the truth about the loss around a network: ``python -m app.landscape ckpt=… [key=value …]``.

  ckpt=FILE or FOLDER   the network; of a run's folder the best checkpoint is taken
  --line --plane --fidelity   what to measure (default: all three)
  along=random          direction of the line: random (filter-normalised), activation, timing or antlr (own gradient)
  points=61             points of the line
  plane_points=21       points of the plane, each way
  span=0.5              reach each way; 1 is as long as the weights are
  smooth=0.05           half-width of the central differences, and of the smoothing of the loss
  directions=64         random directions for each layer
  samples=64            validation samples over which the loss is averaged
  out=FOLDER            where to write (default: landscape/ in the run's folder)

Of several networks, over scales and along training: python -m app.landscape study --help.

Other key=value arguments change the settings that the checkpoint holds (data.root=, seed= of the directions).
Writes line.png, line.csv, plane.png, plane.csv, fidelity.csv, and landscape.md with the tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..arguments import read_arguments, wants_help
from ..config import command_help, import_plugins
from ..errors import UserError, run_command
from ..files import replacing
from ..report.experiments import public_command
from ..rules import RULES
from ..run_files import LANDSCAPE
from ..training.folder import make_folder
from . import measure, study, write
from .checkpoint import Loaded, load

PARTS = ("line", "plane", "fidelity")


@dataclass(frozen=True)
class Options:
    """What to measure; the help text explains each."""

    along: str = "random"
    points: int = 61
    plane_points: int = 21
    span: float = 0.5
    smooth: float = measure.SMOOTH
    directions: int = measure.DIRECTIONS
    samples: int = 64


KEYS, FLAGS = ("ckpt", "out", *(field.name for field in fields(Options))), PARTS


def main(argv: list[str]) -> int:
    """Measure, write, print the tables."""
    if argv and argv[0] == "study":
        return study.main(argv[1:])
    if wants_help(argv):
        print(command_help(__doc__, argv))
        return 0
    arguments = read_arguments(argv, flags=FLAGS)
    parts, given = [part for part in PARTS if part in arguments.flags] or list(PARTS), arguments.values
    import_plugins(argv)
    if "ckpt" not in given:
        raise UserError("ckpt= is missing: name a checkpoint, for example ckpt=runs/digits-antlr-latency-s0")
    options = _options({field.name: given.pop(field.name) for field in fields(Options) if field.name in given})
    path, out = Path(given.pop("ckpt")), given.pop("out", None)
    loaded = load(path, [f"{key}={value}" for key, value in given.items()], options.samples)
    if options.along not in ("random", *loaded.subject.rules):
        raise UserError(
            f"along={options.along}: the {options.along} rule has no gradient with loss={loaded.config.loss}; "
            "use another direction"
        )
    folder = Path(out) if out else loaded.path.parent.parent / LANDSCAPE
    make_folder(folder)
    command = public_command(["python", "-m", "app.landscape", *argv])
    text = "\n".join([f"# {loaded.heading}\n", f"    {command}\n", *_measured(loaded, options, parts, folder)])
    with replacing(folder / "landscape.md") as file:
        file.write(text)
    print(f"{text}\n{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
    return 0


def _measured(loaded: Loaded, options: Options, parts: list[str], folder: Path) -> list[str]:
    """Do the chosen measurements, write each, and return tables and pictures: the verdict first."""
    subject, seed, texts = loaded.subject, loaded.config.seed, []
    line, found = None, {}
    along = measure.direction(subject, options.along, seed)
    if "line" in parts:
        line = measure.line(subject, along, measure.even_steps(options.points, options.span), options.smooth)
        write.write_line(folder, loaded.heading, line, options.along)
        texts += [write.line_table(line, options.along), "![the loss on a line](line.png)\n"]
    if "plane" in parts:
        across = measure.direction(subject, "random", seed + 1)
        plane = measure.plane(subject, (along, across), measure.even_steps(options.plane_points, options.span))
        write.write_plane(folder, loaded.heading, plane, options.along)
        texts.append("![the loss on a plane, and where each rule's gradient points](plane.png)\n")
    if "fidelity" in parts:
        found = measure.fidelity(subject, options.directions, options.smooth, seed)
        write.write_fidelity(folder, found)
        texts.append(write.fidelity_table(found, options.smooth))
    return [write.verdict(line, found), *texts] if line or found else texts


def _options(given: dict[str, str]) -> Options:
    options: dict[str, Any] = {key: _read(key, text) for key, text in given.items()}
    return Options(**options)


def _read(key: str, text: str) -> str | int | float:
    """A value of the kind that the option's default has."""
    kind: type[str | int | float] = type(getattr(Options, key))
    if kind is str:
        if text not in ("random", *RULES):
            raise UserError(f"along={text} must be one of random, {', '.join(RULES)}")
        return text
    try:
        value: int | float = int(text) if kind is int else float(text)
    except ValueError:
        value = math.nan
    least = 3 if "points" in key else 1 if kind is int else 0
    if not (least <= value < math.inf and value):
        raise UserError(f"{key}={text} must be {'a whole number from' if kind is int else 'a number above'} {least}")
    return value


if __name__ == "__main__":
    run_command(main)
