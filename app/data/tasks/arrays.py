"""Arrays of one's own: images or spikes with labels, from a file or from Python."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...settings import setting
from ..coded import Coded
from ..event_arrays import EventArrays
from ..task import TASKS

NAMES = "images or spikes, and labels; or each of them with _train and with _test"


@TASKS.register("arrays")
@dataclass(frozen=True)
class Arrays(Coded):
    """Arrays ``images`` [S, …] or ``spikes`` [S, T, …], and ``labels`` [S] from 0, in an ``.npz`` file.

    With the endings ``_train`` and ``_test`` they are the two splits; without, a fixed fifth is the test split. Images
    are bytes, or numbers from 0 to 1; two axes behind the samples are rows and columns, three are channels, rows and
    columns. What is not 0 in ``spikes`` is a spike; their T is the usual window. From Python::

        task = Arrays(arrays={"images": image_SHW, "labels": label_S})
        data = EventDataModule(task, time_steps=50)

    Args:
        arrays: the arrays themselves, instead of ``path``.
    """

    path: str | None = setting(None, "the .npz file, or the folder, of the samples")
    arrays: Mapping[str, np.ndarray] | None = field(default=None, compare=False)

    @property
    def source(self) -> str:
        """The file, or that there is none."""
        return f"data.path = {self.path}" if self.arrays is None else "arrays"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape behind samples and steps; one channel where only rows and columns are given."""
        kind, values = self._samples_of("train")
        shape = values.shape[2 if kind == "spikes" else 1 :]
        return (1, *shape) if len(shape) == 2 else shape

    @property
    def num_classes(self) -> int:
        """One more than the largest label of all splits."""
        return 1 + max(int(values.max()) for name, values in self._all.items() if name.startswith("labels"))

    @property
    def usual_time_steps(self) -> int:
        """T of the spikes; 100 for images."""
        kind, values = self._samples_of("train")
        return values.shape[1] if kind == "spikes" else 100

    def problems(self, config: Any) -> Iterator[str]:
        """A window that is shorter than the spikes."""
        kind, values = self._samples_of("train")
        if kind == "images":
            yield from super().problems(config)
        elif values.shape[1] > config.time_steps:
            steps = values.shape[1]
            yield f"time_steps={config.time_steps} cuts the {steps} steps of the spikes in {self.source}: raise it"

    def has_test_split(self) -> bool:
        """Whether names end in ``_test``."""
        return "labels_test" in self._all

    def events_of(self, split: str, time_steps: int) -> EventArrays:
        """Coded images, or the spikes as they are."""
        kind, values = self._samples_of(split)
        label_S = self._all[self._name("labels", split)]
        if kind == "spikes":
            return EventArrays.from_dense(values, label_S)
        return self.coded(values.reshape(len(values), -1), label_S, time_steps, split)

    def _name(self, kind: str, split: str) -> str:
        return f"{kind}_{split}" if self.has_test_split() else kind

    def _samples_of(self, split: str) -> tuple[str, np.ndarray]:
        kind = next(kind for kind in ("images", "spikes") if self._name(kind, split) in self._all)
        return kind, self._all[self._name(kind, split)]

    @cached_property
    def _all(self) -> dict[str, np.ndarray]:
        """All arrays, checked."""
        found = _read(self.path) if self.arrays is None else {name: np.asarray(a) for name, a in self.arrays.items()}
        is_split = "labels_test" in found
        kind = next((kind for kind in ("images", "spikes") if any(name.startswith(kind) for name in found)), "images")
        endings = ("_train", "_test") if is_split else ("",)
        for ending in endings:
            if missing := {f"{kind}{ending}", f"labels{ending}"} - set(found):
                raise UserError(f"{self.source} has no array {min(missing)}: it must hold {NAMES}.")
            self._check(kind, found[f"{kind}{ending}"], found[f"labels{ending}"], ending)
        if is_split and found[f"{kind}_train"].shape[1:] != found[f"{kind}_test"].shape[1:]:
            raise UserError(f"{self.source}: {kind}_train and {kind}_test differ in shape: give samples of one shape.")
        return {f"{name}{ending}": found[f"{name}{ending}"] for name in (kind, "labels") for ending in endings}

    def _check(self, kind: str, values: np.ndarray, label_S: np.ndarray, ending: str) -> None:
        where = f"{self.source}: {kind}{ending} of shape {values.shape}"
        if not 2 + (kind == "spikes") <= values.ndim <= 4 + (kind == "spikes") or 0 in values.shape:
            axes = "[S, T, …]" if kind == "spikes" else "[S, …]"
            raise UserError(f"{where} must have the axes {axes}, with one to three axes for the inputs.")
        if values.dtype.kind not in "biuf":
            raise UserError(f"{where} holds {values.dtype}: give numbers.")
        if label_S.shape != (len(values),) or label_S.dtype.kind not in "iu" or label_S.min() < 0:
            raise UserError(f"{where} needs labels{ending} as {len(values)} integers from 0, one for each sample.")


def _read(path: str | None) -> dict[str, np.ndarray]:
    if path is None:
        raise UserError("task=arrays needs a file: add data.path=FILE.npz.")
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"data.path = {path} does not exist: give an .npz file.") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"data.path = {path} is no .npz file of plain arrays ({error}): write it by numpy.savez."
        ) from None
