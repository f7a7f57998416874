"""Ask a trained network: ``python -m app.predict ckpt=<file or run folder> FILE … [out=raster.png] [--json]``.

A FILE is an image (coded as the network's task codes its own, scaled to its size), a recording of N-MNIST (.bin), an
.npz file with ``images`` [S, rows, columns] or ``spikes`` [S, steps, inputs], or a folder of these. Printed are the
class, the confidence (softmax over first-spike times, or the share of the output spikes where these are counted; not
calibrated), the step of the decision, and the spikes of all layers until then. No class: no output neuron fires.

  out=raster.png       draw all spikes of the one sample
  full_intensity=16    the brightest value that can be, for images in .npz; by default 1, or 255 for whole numbers
  --invert             images are dark on bright, as ink on paper, where the task's are bright on dark
  --json               print a list of {file, class, confidence, time_to_decision_steps, spikes}
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .arguments import read_arguments, wants_help
from .errors import UserError, run_command
from .events import SpikeEvents
from .training.predictor import Coding, Prediction, Predictor, load

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".tif", ".tiff")
KINDS = (*IMAGES, ".bin", ".npz")
KEYS, FLAGS = ("ckpt", "out", "full_intensity"), ("json", "invert")


def main(argv: list[str]) -> int:
    """Predict; prints a line or an object for each sample."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=KEYS, flags=FLAGS, words="FILE")
    if "ckpt" not in given.values or not given.words:
        raise UserError("name a checkpoint and a file, for example ckpt=runs/digits-antlr-latency-s0 image.png")
    files = [file for word in given.words for file in _files(Path(word).expanduser())]
    model = load(given.values["ckpt"])
    full = _full_intensity(given.values.get("full_intensity"))
    samples = [(file, _events(model.coding, file, full, "invert" in given.flags)) for file in files]
    if "out" in given.values:
        _draw(model, samples, Path(given.values["out"]).expanduser())
    found = [
        (_name(file, number, events), answer)
        for file, events in samples
        for number, answer in enumerate(model.predict(events))
    ]
    print(json.dumps([_as_dict(*one) for one in found], indent=2) if "json" in given.flags else _table(found))
    return 0


def _full_intensity(text: str | None) -> float | None:
    try:
        value = None if text is None else float(text)
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value < float("inf"):
        raise UserError(f"full_intensity={text} must be a number above 0")
    return value


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder that can be read."""
    if path.is_dir():
        found = sorted(
            file for file in path.iterdir() if file.suffix.lower() in KINDS and not file.name.startswith(".")
        )
        if not found:
            raise UserError(f"{path}: the folder has no {', '.join(KINDS)}")
        return found
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; name an image, a .bin recording, an .npz file or a folder")
    if path.suffix.lower() not in KINDS:
        raise UserError(f"{path}: files that can be read end with {', '.join(KINDS)}")
    return [path]


def _events(coding: Coding, path: Path, full_intensity: float | None, invert: bool) -> SpikeEvents:
    """The samples of a file as input spikes."""
    suffix = path.suffix.lower()
    if suffix == ".bin":
        return coding.recordings([path])
    try:
        if suffix in IMAGES:
            return coding.images(_image(path, coding.task.input_shape, invert)[None])
        arrays = _arrays(path)
        if "spikes" in arrays:
            return coding.spikes(arrays["spikes"])
        images = arrays["images"]
        if invert:
            top = full_intensity or (255 if images.dtype.kind in "ui" else 1)
            images = top - images.astype(float)
            full_intensity = top
        return coding.images(images, full_intensity)
    except UserError as error:
        raise error if str(error).startswith(str(path)) else UserError(f"{path}: {error}") from None


def _image(path: Path, shape: tuple[int, ...], invert: bool) -> np.ndarray:
    """Grey values 0..255 of the task's size, uint8 [H, W]."""
    from PIL import Image, UnidentifiedImageError

    if len(shape) != 3 or shape[0] != 1:
        raise UserError("this task does not code images; give recordings (.bin) or an .npz file with spikes")
    try:
        with Image.open(path) as opened:
            opened.load()
            image: Image.Image = opened
            if image.mode.startswith(("I", "F")):
                values = np.asarray(image, np.float64)
                image = Image.fromarray(np.rint(values / max(values.max(), 65535) * 255).astype(np.uint8))
            grey = image.convert("L")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError("it is no image that can be read; save it as PNG") from None
    if grey.size != (shape[2], shape[1]):
        grey = grey.resize((shape[2], shape[1]), Image.Resampling.BOX)
    return 255 - np.asarray(grey) if invert else np.asarray(grey)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("images", "spikes")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise UserError("it is no .npz file that can be read; write it with numpy.savez") from None
    if len(arrays) != 1:
        raise UserError("an .npz file must hold either images [S, rows, columns] or spikes [S, steps, inputs]")
    return arrays


def _name(file: Path, number: int, events: SpikeEvents) -> str:
    return str(file) if events.batch_size == 1 else f"{file}[{number}]"


def _as_dict(name: str, answer: Prediction) -> dict[str, str | int | float | None]:
    label, confidence, step, spikes = answer
    return {"file": name, "class": label, "confidence": confidence, "time_to_decision_steps": step, "spikes": spikes}


def _table(found: list[tuple[str, Prediction]]) -> str:
    return "\n".join(_lines(found))


def _lines(found: list[tuple[str, Prediction]]) -> Iterator[str]:
    width = max(len("file"), *(len(name) for name, _ in found))
    yield f"{'file':{width}}  class  confidence  decided at step  spikes until then"
    for name, (label, confidence, step, spikes) in found:
        shown = ("-", "-", "-") if confidence is None else (str(label), f"{confidence:.3f}", str(step))
        yield f"{name:{width}}  {shown[0]:>5}  {shown[1]:>10}  {shown[2]:>15}  {spikes:>17}"


def _draw(model: Predictor, samples: list[tuple[Path, SpikeEvents]], out: Path) -> None:
    """All spikes of the one sample."""
    from .pictures import raster, save, spike_panels

    count = sum(events.batch_size for _, events in samples)
    if count != 1:
        raise UserError(f"out={out} draws one sample, but there are {count}; name one file")
    kinds = (".png", ".svg", ".pdf")
    if out.suffix.lower() not in kinds or not out.parent.is_dir():
        raise UserError(f"out={out} must be a file that ends with {', '.join(kinds)}, in a folder that exists")
    file, events = samples[0]
    output = model.run(events)
    answer = model.answers(output)[0]
    title = f"{file.name}: " + ("no output spike" if answer.confidence is None else f"class {answer.label}")
    if answer.confidence is not None:
        title += (
            f" (confidence {answer.confidence:.3f}), {answer.spikes} spikes until step {answer.time_to_decision_steps}"
        )
    step = events.time_steps if answer.time_to_decision_steps is None else answer.time_to_decision_steps
    first = model.trained.config.readout == "first"
    steps = events.time_steps
    channels = model.coding.task.channel_names
    save(raster(spike_panels(events, output), step if first else steps, title, steps, channels), out)


if __name__ == "__main__":
    run_command(main)
