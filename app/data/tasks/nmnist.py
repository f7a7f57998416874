"""N-MNIST: MNIST digits recorded by an event camera that moved in three saccades (SPEC section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...errors import UserError
from ...settings import setting
from ..cache import cached_arrays
from ..event_arrays import EventArrays
from ..event_dataset import EventDataset
from ..nmnist_files import Recording, download_recordings, find_folder, list_recordings
from ..nmnist_parsing import SENSOR_SHAPE, Binning, parse_recordings
from ..split import split_train_val
from ..task import POLARITIES, TASKS, Split, Task

PARSER_VERSION = 1
VAL_SHARE = 6
FOLD_SEED = 0


@TASKS.register("nmnist")
@dataclass(frozen=True)
class NMNIST(Task):
    """N-MNIST in time bins: events at t < ``duration_ms``, at most one spike per pixel, polarity and bin.

    Recordings are looked for in ``root/{Train,Test}/<label>/<index>.bin`` and ``root/NMNIST/...``, complete or not,
    else downloaded. The spikes are cached in ``cache`` and mapped from there. A validation split of its own has a sixth
    of the training recordings (10,000 of 60,000). In a cross-validation, the recordings of ``Train`` and ``Test``
    together are divided into folds, alike in labels and whatever the seed.
    Source: G. Orchard, A. Jayawant, G. K. Cohen and N. Thakor, Frontiers in Neuroscience 9:437 (2015).
    """

    input_shape: ClassVar[tuple[int, ...]] = SENSOR_SHAPE
    channel_names: ClassVar[tuple[str, ...]] = POLARITIES
    num_classes: ClassVar[int] = 10
    usual_network: ClassVar[tuple[str, ...]] = ("2x34x34", "flatten", "fc800", "fc10")
    usual_time_steps: ClassVar[int] = 300

    root: str | Path = setting("data", "folder of the raw data sets; may be read-only if it holds the recordings")
    cache: str | Path = setting("data/cache", "folder of converted data sets")
    val_samples: int | None = setting(None, "training samples held out for validation", ge=1)
    duration_ms: int = setting(300, "length of a recording in ms; one step is duration_ms / time_steps", ge=1)
    folds: int | None = setting(None, "cross-validation over Train and Test together in so many folds", ge=2)
    fold: int = setting(0, "the fold that is tested, from 0; with data.folds", ge=0)
    first_event_only: bool = setting(False, "keep the first event of each input only (single-spike coding)")

    @property
    def folder(self) -> Path:
        """The folder that holds, or will hold, the recordings."""
        return Path(self.root).expanduser()

    def problems(self, config: Any) -> Iterator[str]:
        """Bins of broken microseconds, a fold that does not exist."""
        if self.duration_ms * 1000 % config.time_steps:
            yield (
                f"data.duration_ms={self.duration_ms} does not divide into time_steps={config.time_steps} bins of "
                f"whole microseconds: set time_steps to a divisor, for example {self.duration_ms}"
            )
        if self.folds is None and self.fold:
            yield f"data.fold={self.fold} needs the number of folds; add data.folds=5"
        if self.folds is not None and self.fold >= self.folds:
            yield f"data.fold={self.fold} does not exist: data.folds={self.folds} are counted from 0"

    def binning(self, time_steps: int) -> Binning:
        """How microseconds become steps."""
        return Binning(time_steps, self.duration_ms * 1000 // time_steps, self.first_event_only)

    def prepare(self, split: Split, time_steps: int) -> None:
        """Download the split unless it is there, and cache its spikes."""
        self._load(split, time_steps)

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """The recordings in ``Train``, or outside the tested fold, divided by the seed."""
        dataset = self._samples("train", time_steps)
        val_samples = len(dataset) // VAL_SHARE if self.val_samples is None else self.val_samples
        train, val = split_train_val(len(dataset), val_samples, seed, f"data.root = {self.folder}")
        return dataset.subset(train), dataset.subset(val)

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """The recordings in ``Test``, or in the tested fold."""
        return self._samples("test", time_steps)

    def from_recordings(self, paths: Sequence[Path], time_steps: int) -> EventDataset:
        """Recordings of one's own, binned as the task's are; nothing is cached."""
        sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
        recordings = [Recording(path, 0, size, 0) for path, size in zip(paths, sizes, strict=True)]
        return EventDataset(parse_recordings(recordings, self.binning(time_steps)), time_steps, self.input_shape)

    def _samples(self, split: Split, time_steps: int) -> EventDataset:
        arrays = self._load(split, time_steps)
        rows = None if self.folds is None else self._rows_of_fold(arrays.label_S, self.folds)[split]
        return EventDataset(arrays, time_steps, self.input_shape, rows)

    def _rows_of_fold(self, label_S: np.ndarray, folds: int) -> dict[Split, np.ndarray]:
        from sklearn.model_selection import StratifiedKFold

        rarest = int(np.bincount(label_S)[np.unique(label_S)].min())
        if folds > rarest:
            raise UserError(
                f"data.folds = {folds} needs as many recordings of each digit, but data.root = {self.folder} has only "
                f"{rarest} of one: set data.folds to at most {rarest}."
            )
        parts = list(StratifiedKFold(folds, shuffle=True, random_state=FOLD_SEED).split(label_S, label_S))
        return {"train": parts[self.fold][0], "test": parts[self.fold][1]}

    def _load(self, split: Split, time_steps: int) -> EventArrays:
        """The spikes of a split, those of both in cross-validation."""
        splits: tuple[Split, ...] = (split,) if self.folds is None else ("train", "test")
        recordings = [recording for name in splits for recording in self._recordings(name)]
        binning = self.binning(time_steps)
        name = f"nmnist-{'-'.join(splits)}-{_cache_key(recordings, binning)}.events"
        return cached_arrays(Path(self.cache).expanduser() / name, lambda: parse_recordings(recordings, binning))

    def _recordings(self, split: Split) -> list[Recording]:
        folder = find_folder(self.folder, split)
        if folder is None:
            download_recordings(self.folder, split)
            folder = find_folder(self.folder, split)
            assert folder is not None
        return list_recordings(folder)


def _cache_key(recordings: Sequence[Recording], binning: Binning) -> str:
    """16 hex digits over everything that the parsed spikes depend on."""
    digest = hashlib.sha256(json.dumps([PARSER_VERSION, astuple(binning)]).encode())
    for path, label, size, mtime_ns in recordings:
        digest.update(f"{label}/{path.name}\0{size}\0{mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
