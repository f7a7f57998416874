"""N-MNIST: MNIST digits recorded by an event camera that moved in three saccades (SPEC section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .base import EventDataModule, Split
from .cache import cached_arrays
from .checks import check_range
from .event_arrays import EventArrays
from .event_dataset import EventDataset
from .nmnist_files import Recording, download_recordings, find_folder, list_recordings
from .nmnist_parsing import SENSOR_SHAPE, Binning, parse_recordings
from .split import split_train_val

PARSER_VERSION = 1
VAL_SHARE = 6
FOLD_SEED = 0


class NMNISTDataModule(EventDataModule):
    """N-MNIST in time bins: events at t < ``duration_ms``, at most one spike per pixel, polarity and bin.

    Recordings are looked for in ``root/{Train,Test}/<label>/<index>.bin`` and ``root/NMNIST/...``, complete or not,
    else downloaded. The spikes are cached in ``cache`` and mapped from there.

    Args:
        root: the folder that holds, or will hold, the recordings; may be read-only if it holds them.
        cache: the folder for the parsed spikes.
        time_steps: T; ``duration_ms`` must divide into so many bins of whole microseconds.
        val_samples: size of the validation split; by default a sixth of the training recordings (10,000 of 60,000).
        duration_ms: the length of the window.
        first_event_only: each input keeps only its first event (single-spike coding).
        folds: cross-validation: the recordings of ``Train`` and ``Test`` together are divided into so many parts, alike
            in labels and whatever the seed; None uses the two as they are.
        fold: the part that is the test split then; validation samples are taken from the others.
        **loading: see :class:`EventDataModule`.
    """

    input_shape = SENSOR_SHAPE
    num_classes = 10

    def __init__(
        self,
        root: str | Path,
        cache: str | Path,
        *,
        time_steps: int = 300,
        val_samples: int | None = None,
        duration_ms: int = 300,
        first_event_only: bool = False,
        folds: int | None = None,
        fold: int = 0,
        **loading: Any,
    ) -> None:
        super().__init__(time_steps=time_steps, **loading)
        check_range("data.duration_ms", duration_ms, 1)
        bin_us, remainder = divmod(duration_ms * 1000, time_steps)
        if remainder:
            raise UserError(
                f"data.duration_ms = {duration_ms} does not divide into time_steps = {time_steps} bins of whole "
                f"microseconds: set time_steps to a divisor, for example {duration_ms}."
            )
        self.folds, self.fold = folds, fold
        self.root, self.cache = Path(root).expanduser(), Path(cache).expanduser()
        self.val_samples = val_samples
        self.binning = Binning(time_steps, int(bin_us), first_event_only)

    def prepare(self, split: Split) -> None:
        """Download the split unless it is there, and cache its spikes."""
        self._load(split)

    def load_train_val(self) -> tuple[EventDataset, EventDataset]:
        """The recordings in ``Train``, or outside the tested fold, divided by the seed."""
        dataset = self._samples("train")
        val_samples = len(dataset) // VAL_SHARE if self.val_samples is None else self.val_samples
        train, val = split_train_val(len(dataset), val_samples, self.seed, f"data.root = {self.root}")
        return dataset.subset(train), dataset.subset(val)

    def load_test(self) -> EventDataset:
        """The recordings in ``Test``, or in the tested fold."""
        return self._samples("test")

    def _samples(self, split: Split) -> EventDataset:
        arrays = self._load(split)
        rows = None if self.folds is None else self._rows_of_fold(arrays.label_S, self.folds)[split]
        return EventDataset(arrays, self.time_steps, self.input_shape, rows)

    def _rows_of_fold(self, label_S: np.ndarray, folds: int) -> dict[Split, np.ndarray]:
        from sklearn.model_selection import StratifiedKFold

        rarest = int(np.bincount(label_S)[np.unique(label_S)].min())
        if folds > rarest:
            raise UserError(
                f"data.folds = {folds} needs as many recordings of each digit, but data.root = {self.root} has only "
                f"{rarest} of one: set data.folds to at most {rarest}."
            )
        parts = list(StratifiedKFold(folds, shuffle=True, random_state=FOLD_SEED).split(label_S, label_S))
        return {"train": parts[self.fold][0], "test": parts[self.fold][1]}

    def _load(self, split: Split) -> EventArrays:
        """The spikes of a split, those of both in cross-validation."""
        splits: tuple[Split, ...] = (split,) if self.folds is None else ("train", "test")
        recordings = [recording for name in splits for recording in self._recordings(name)]
        path = self.cache / f"nmnist-{'-'.join(splits)}-{self._cache_key(recordings)}.events"
        return cached_arrays(path, lambda: parse_recordings(recordings, self.binning))

    def _recordings(self, split: Split) -> list[Recording]:
        folder = find_folder(self.root, split)
        if folder is None:
            download_recordings(self.root, split)
            folder = find_folder(self.root, split)
            assert folder is not None
        return list_recordings(folder)

    def _cache_key(self, recordings: Sequence[Recording]) -> str:
        """16 hex digits over everything that the parsed spikes depend on."""
        digest = hashlib.sha256(json.dumps([PARSER_VERSION, astuple(self.binning)]).encode())
        for path, label, size, mtime_ns in recordings:
            digest.update(f"{label}/{path.name}\0{size}\0{mtime_ns}\n".encode())
        return digest.hexdigest()[:16]
