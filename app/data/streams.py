"""Recordings of event sensors as spikes per step: what tasks of such recordings share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from ..settings import setting
from .cache import cached_arrays
from .coded import joined
from .event_arrays import EventArrays
from .labelled import Labelled
from .task import POLARITIES

BINNING_VERSION = 1
PROGRESS_AFTER_S = 2.0


@dataclass(frozen=True)
class Streams(Labelled):
    """Events t, x, y, p in bins: step = (t - first t) T / window, at most one spike per input and bin.

    The inputs are polarity, row and column, each of the latter divided by ``pool``. Later events are left out.
    """

    cache: str | Path = setting("data/cache", "folder of converted data sets")
    window_ms: int = setting(1000, "part of a recording that is used, from its first event; time_steps bins", ge=1)
    pool: int = setting(1, "rows and columns of the sensor that become one input", ge=1)

    def sensor_shape(self) -> tuple[int, int, int]:
        """Polarities, rows and columns."""
        raise NotImplementedError

    def recordings(self, split: str) -> tuple[Iterable[tuple[str, np.ndarray, int]], int, str]:
        """Name, events and label of each, how many there are, and what identifies them."""
        raise NotImplementedError

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The sensor, pooled; a row of inputs if it is one row of one polarity."""
        polarities, rows, columns = self.sensor_shape()
        shape = (polarities, -(-rows // self.pool), -(-columns // self.pool))
        return shape[2:] if shape[:2] == (1, 1) else shape

    @property
    def channel_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The polarities of a camera."""
        return POLARITIES if self.sensor_shape()[0] == len(POLARITIES) else ()

    def problems(self, config: Any) -> Iterator[str]:
        """More bins than microseconds."""
        if config.time_steps > self.window_ms * 1000:
            yield f"data.window_ms={self.window_ms} is too short for time_steps={config.time_steps} of 1 µs: raise it"

    def events_of(self, split: str, time_steps: int) -> EventArrays:
        """The spikes, mapped from the cache."""
        self.check_sizes()
        recordings, number, identity = self.recordings(split)
        key = f"{BINNING_VERSION}-{self.sensor_shape()}-{self.window_ms}-{self.pool}-{time_steps}-{identity}"
        path = Path(self.cache).expanduser() / f"{type(self).__name__.lower()}-{split}-{_digest(key)}.events"
        return cached_arrays(path, lambda: self._binned(recordings, number, time_steps))

    def prepare(self, split: Any, time_steps: int) -> None:
        """Download, and cache the spikes."""
        self.events_of(split if self.has_test_split() else "all", time_steps)

    def _binned(self, recordings: Iterable[tuple[str, np.ndarray, int]], number: int, time_steps: int) -> EventArrays:
        steps, neurons, labels = [], [], []
        for name, events, label in tqdm(recordings, "reading events", number, unit="file", delay=PROGRESS_AFTER_S):
            step_E, neuron_E = self._spikes(name, events, time_steps)
            steps.append(step_E.astype(np.int16))
            neurons.append(neuron_E.astype(np.uint16))
            labels.append(label)
        return joined(steps, neurons, np.array(labels))

    def _spikes(self, name: str, events: np.ndarray, time_steps: int) -> tuple[np.ndarray, np.ndarray]:
        fields, shape = events.dtype.names or (), self.sensor_shape()
        zero = np.zeros(len(events), np.int64)
        t, x, y, p = (events[field].astype(np.int64) if field in fields else zero for field in "txyp")
        p = p if shape[0] > 1 else zero
        for axis, values, size in (("p", p, shape[0]), ("y", y, shape[1]), ("x", x, shape[2])):
            if len(values) and not 0 <= values.min() <= values.max() < size:
                raise UserError(
                    f"{name} has events at {axis} = {values.min()} to {values.max()}, outside the sensor of "
                    f"{'x'.join(map(str, shape))}: replace it, or set data.sensor=[polarities,rows,columns]."
                )
        step_E = (t - t.min(initial=t[0] if len(t) else 0)) * time_steps // (self.window_ms * 1000)
        rows, columns = (-(-size // self.pool) for size in shape[1:])
        neuron_E = (p * rows + y // self.pool) * columns + x // self.pool
        inputs = shape[0] * rows * columns
        spikes_E = np.unique((step_E * inputs + neuron_E)[step_E < time_steps])
        return spikes_E // inputs, spikes_E % inputs


def _digest(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()[:16]
