"""Recordings of one's own: a folder of files of events for each class."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...settings import setting
from ..folders import Sample, find_samples
from ..streams import Streams
from ..task import TASKS

SUFFIXES = (".npz", ".csv", ".aedat4")
EVENT_TYPE = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])


@TASKS.register("events")
@dataclass(frozen=True)
class Events(Streams):
    """Files ``path/CLASS/FILE``, or ``path/train/CLASS/FILE`` and ``path/test/CLASS/FILE``; classes in order of names.

    Events have t in microseconds, column x, row y, polarity p: ``.npz`` with these arrays, ``.csv`` with their
    names in its first line, or ``.aedat4``, of which the first stream of events counts (read through tonic, which needs
    the package aedat).
    """

    path: str | None = setting(None, "the .npz file, or the folder, of the samples")
    sensor: list[int] = setting([2, 128, 128], "polarities, rows and columns of the sensor")

    @property
    def source(self) -> str:
        """The folder."""
        return f"data.path = {self.path}"

    @property
    def num_classes(self) -> int:
        """The folders."""
        return 1 + max(sample.label for samples in self._files.values() for sample in samples)

    def sensor_shape(self) -> tuple[int, int, int]:
        """What ``data.sensor`` says."""
        if len(self.sensor) != 3 or min(self.sensor) < 1:
            raise UserError(f"data.sensor = {self.sensor} is no sensor: give [polarities,rows,columns].")
        polarities, rows, columns = self.sensor
        return polarities, rows, columns

    def has_test_split(self) -> bool:
        """Whether there is a folder ``test`` beside ``train``."""
        return "test" in self._files

    def recordings(self, split: str) -> tuple[Iterable[tuple[str, np.ndarray, int]], int, str]:
        """The files, read one after the other."""
        samples = self._files[split]
        stats = [sample.path.stat() for sample in samples]
        identity = [(*sample, stat.st_size, stat.st_mtime_ns) for sample, stat in zip(samples, stats, strict=True)]
        return ((str(path), read_events(path), label) for path, label in samples), len(samples), str(identity)

    @cached_property
    def _files(self) -> dict[str, list[Sample]]:
        return find_samples(self.path, "events", SUFFIXES)


def read_events(path: Path) -> np.ndarray:
    """The events of a file, structured by t, x, y and p.

    Raises:
        UserError: naming the file.
    """
    try:
        columns = {".npz": _npz, ".csv": _csv, ".aedat4": _aedat4}[path.suffix.lower()](path)
        lengths = {columns[name].shape for name in "txyp"}
        if len(lengths) != 1 or len(lengths.pop()) != 1:
            raise ValueError("t, x, y and p differ in length")
        events = np.empty(len(columns["t"]), EVENT_TYPE)
        for name in "txyp":
            if not np.isfinite(columns[name]).all():
                raise ValueError(f"{name} holds what is no number")
            events[name] = columns[name]
        return events
    except ImportError as error:
        raise UserError(f"{path} needs the package {error.name}: pip install {error.name}, or write .npz.") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} holds no events t, x, y, p ({error}): replace it or move it out of data.path."
        ) from None


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in "txyp"}


def _csv(path: Path) -> dict[str, np.ndarray]:
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8"))
    return {name: table[name] for name in "txyp"}


def _aedat4(path: Path) -> dict[str, np.ndarray]:
    import aedat  # noqa: F401 - what tonic reads with, and says nothing of before it is missing
    from tonic.io import read_aedat4

    try:
        events = read_aedat4(str(path))
    except BaseException as error:  # of a file that is none: RuntimeError, Exception or the decoder's own panic
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise ValueError(str(error)) from None
    names = {"t": "t", "x": "x", "y": "y", "p": "p" if "p" in events.dtype.names else "on"}
    return {name: events[own] for name, own in names.items()}
