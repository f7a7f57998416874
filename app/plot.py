"""Pictures of a trained network: ``python -m app.plot ckpt=<file or run folder> [what=NAME,NAME] [key=value …]``.

  what=…          rasters (all spikes of a sample, the decision marked), traces (membrane potentials against θ), psp
                  (what a spike does), weights, confusion, curves (learning), cost (accuracy against spikes);
                  all by default
  sample=0        the validation sample that is drawn
  format=png      or svg, pdf
  out=FOLDER      where they are written; by default pictures/ in the run's folder

Only validation data are shown; the test split stays unread. ``callbacks=[pictures]`` draws the same at the end of a
training run, in its folder and in W&B.
"""

from __future__ import annotations

from pathlib import Path

from .arguments import wants_help
from .config import parse_arguments
from .errors import UserError, run_command
from .pictures import save
from .portraits import PICTURES, NothingToDraw, View, drawn
from .run_files import CHECKPOINTS, METRICS, Unusable, read_metrics
from .run_files import PICTURES as FOLDER
from .training.folder import make_folder
from .training.trained import Trained, load_trained

KEYS = ("what", "sample", "format", "out")
FORMATS = ("png", "svg", "pdf")
VALUES = {"what": tuple(PICTURES), "format": FORMATS}


def main(argv: list[str]) -> int:
    """Draw, and print the files."""
    if wants_help(argv):
        print(__doc__)
        return 0
    pairs = [argument.removeprefix("--").partition("=") for argument in argv]
    own = {key: value for key, _, value in pairs if key in KEYS}
    settings = ["=".join((key, text)) if equals else key for key, equals, text in pairs if key not in KEYS]
    arguments = parse_arguments(settings)
    if "ckpt" not in arguments:
        raise UserError("ckpt= is missing: name a checkpoint, for example ckpt=runs/digits-antlr-latency-s0")
    names, kind = _names(own.get("what")), own.get("format", "png")
    if kind not in FORMATS:
        raise UserError(f"format={kind} is unknown; choose {', '.join(FORMATS)}")
    trained = load_trained(str(arguments["ckpt"]), [a for a in settings if a.partition("=")[0] != "ckpt"])
    run = trained.path.parent.parent if trained.path.parent.name == CHECKPOINTS else None
    if run is None and "out" not in own:
        raise UserError(f"ckpt={trained.path} lies in no run's folder; name a folder for the pictures with out=")
    out = Path(own["out"]).expanduser() if "out" in own else Path(run or "") / FOLDER
    view = view_of(trained, run, own.get("sample", "0"))
    make_folder(out)
    missing = []
    for name, figure in drawn(view, names):
        if isinstance(figure, NothingToDraw):
            missing.append(f"{name} ({figure})")
            continue
        save(figure, out / f"{name}.{kind}")
        print(out / f"{name}.{kind}")
    if missing and (own.get("what") or len(missing) == len(names)):
        raise UserError(f"what={','.join(names)}: there is no {', no '.join(missing)}; leave it out")
    if missing:
        print(f"left out: {', '.join(missing)}")
    return 0


def _names(text: str | None) -> list[str]:
    names = list(dict.fromkeys(text.strip("[]").split(","))) if text else list(PICTURES)
    for name in names:
        if name not in PICTURES:
            raise UserError(f"what={text}: there is no picture {name!r}; choose among {', '.join(PICTURES)}")
    return names


def view_of(trained: Trained, run: Path | None, sample: str) -> View:
    """What the pictures of a checkpoint are made from.

    Raises:
        UserError: there is no such sample.
    """
    trained.data.prepare("train")
    trained.data.setup("fit")
    samples, config = trained.data.val_set, trained.config
    assert samples is not None
    if not sample.isdecimal() or int(sample) >= len(samples):
        raise UserError(f"sample={sample} must be a number from 0 to {len(samples) - 1}, of a validation sample")
    try:
        rows = read_metrics(run / METRICS)[0] if run else []
    except Unusable:
        rows = []
    return View(
        trained.module.network.eval(),
        samples,
        str(config.readout) if config.has_labels else None,
        trained.data.input_shape,
        rows,
        trained.epochs,
        int(sample),
        trained.data.task.channel_names,
    )


if __name__ == "__main__":
    run_command(main)
