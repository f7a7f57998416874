"""The event data sets of tonic: any by its class, and three by a name of their own."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...settings import setting
from ..nmnist_files import TIMEOUT_S
from ..streams import Streams
from ..task import TASKS

CLASSES = {"SHD": 20, "SSC": 35, "NTIDIGITS18": 11, "NCALTECH101": 101}
"""Classes of the data sets whose tonic class does not tell them before it has loaded."""


@TASKS.register("tonic")
@dataclass(frozen=True)
class TonicEvents(Streams):
    """A data set of ``tonic.datasets`` with a fixed sensor and one class for each recording.

    tonic looks for it in ``root/NAME``, else downloads it there and checks it against its MD5. A data set that is not
    divided has a fixed fifth for testing; SSC's own validation split is not used.
    """

    name: str | None = setting(None, "class in tonic.datasets, such as POKERDVS")
    root: str | Path = setting("data", "folder of the raw data sets; may be read-only if it holds the recordings")

    @property
    def source(self) -> str:
        """The data set and its folder."""
        return f"data.name = {self.name} in data.root = {self.root}"

    @property
    def num_classes(self) -> int:
        """As many as tonic, or the data set's paper, says."""
        return CLASSES.get(self.name or "") or len(self._class.classes)

    def sensor_shape(self) -> tuple[int, int, int]:
        """tonic's columns, rows and polarities, turned round."""
        columns, rows, polarities = self._class.sensor_size
        return polarities, rows, columns

    def has_test_split(self) -> bool:
        """Whether tonic's class is told which split it is to be."""
        return bool({"train", "split"} & set(inspect.signature(self._class).parameters))

    def recordings(self, split: str) -> tuple[Iterable[tuple[str, np.ndarray, int]], int, str]:
        """tonic's samples, one after the other."""
        dataset, labels = self._open(split), getattr(self._class, "classes", None)
        folder = Path(dataset.location_on_system)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        identity = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]

        def read() -> Iterable[tuple[str, np.ndarray, int]]:
            for index in range(len(dataset)):
                events, label = dataset[index]
                if isinstance(label, str):
                    label = list(labels or ()).index(label)
                if not 0 <= int(label) < self.num_classes:
                    raise UserError(f"{self.source}: recording {index} has label {label}; get the original data set.")
                yield f"{self.source}, recording {index}", events, int(label)

        return read(), len(dataset), str(identity)

    @property
    def _class(self) -> Any:
        if self.name is None:
            raise UserError(f"task=tonic needs a data set: add data.name= one of {', '.join(known_names())}.")
        if self.name not in known_names():
            raise UserError(f"data.name = {self.name} is no such data set: use one of {', '.join(known_names())}.")
        import tonic.datasets

        return getattr(tonic.datasets, self.name)

    def _open(self, split: str) -> Any:
        arguments: dict[str, Any] = {}
        parameters = inspect.signature(self._class).parameters
        if "train" in parameters:
            arguments = {"train": split == "train"}
        elif "split" in parameters:
            arguments = {"split": split}
        timeout = socket.getdefaulttimeout()
        try:
            socket.setdefaulttimeout(TIMEOUT_S)
            return self._class(str(Path(self.root).expanduser()), **arguments)
        except (OSError, RuntimeError, KeyError, HTTPException) as error:
            place = Path(self.root, str(self.name))
            raise UserError(
                f"{self.name} cannot be read from data.root = {self.root} or downloaded there ({type(error).__name__}: "
                f"{error}): put tonic's files into {place}, or set data.root to where they are."
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)


@cache
def known_names() -> tuple[str, ...]:
    """The classes of tonic with a fixed sensor and classes."""
    import tonic.datasets

    found = inspect.getmembers(tonic.datasets, inspect.isclass)
    return tuple(
        name
        for name, one in found
        if getattr(one, "sensor_size", None) and (name in CLASSES or getattr(one, "classes", None))
    )


@TASKS.register("shd")
@dataclass(frozen=True)
class SHD(TonicEvents):
    """Spiking Heidelberg Digits: 700 channels of a cochlea, 20 classes, 10,420 recordings (Cramer et al. 2020)."""

    name: str = "SHD"


@TASKS.register("ssc")
@dataclass(frozen=True)
class SSC(TonicEvents):
    """Spiking Speech Commands: 700 channels of a cochlea, 35 classes (Cramer et al. 2020)."""

    name: str = "SSC"


@TASKS.register("dvs_gesture")
@dataclass(frozen=True)
class DVSGesture(TonicEvents):
    """DVS128 Gesture: 11 gestures before an event camera (Amir et al. 2017), 128 x 128 pixels pooled by 4."""

    name: str = "DVSGesture"
    pool: int = setting(4, "rows and columns of the sensor that become one input", ge=1)
