"""N-MNIST recordings, checked and turned into spikes per time step.

A recording is a sequence of 5-byte events: x, y, then 1 bit polarity (1 = brighter) and 23 bits time in µs, big-endian.
A row with y = 240 is no event but a mark that adds 2^13 µs to all later times (none occurs in the recordings at hand).
Source: G. Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades,
Frontiers in Neuroscience 9 (2015); parsed by ``tonic.io.read_mnist_file``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from .event_arrays import NEURON_TYPE, STEP_TYPE, EventArrays
from .nmnist_files import Recording

SENSOR_SHAPE = (2, 34, 34)
_PIXELS = SENSOR_SHAPE[1] * SENSOR_SHAPE[2]
_INPUTS = SENSOR_SHAPE[0] * _PIXELS
_EVENT_BYTES = 5
_EVENT_TYPE = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])

# Seven times the longest recording at hand. It keeps tonic's 32-bit times, and its work for each mark, in bounds.
LARGEST_FILE_BYTES = 2**18
# Neighbouring events may be swapped on their way out of the sensor; a foreign file jumps about by much more.
LARGEST_STEP_BACK_US = 10_000
PROGRESS_AFTER_S = 2.0


@dataclass(frozen=True)
class Binning:
    """How events become spikes: several events of an input in one bin are one spike.

    Args:
        time_steps: T, the number of bins.
        bin_us: the width of a bin; events at or after ``time_steps * bin_us`` are outside the window.
        first_event_only: keep only the first spike of each input.
    """

    time_steps: int
    bin_us: int
    first_event_only: bool

    def spikes(self, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps and flat inputs (polarity * 34 * 34 + y * 34 + x), sorted by step, then input, without duplicates."""
        steps = events["t"] // self.bin_us
        inputs = events["p"] * _PIXELS + events["y"] * SENSOR_SHAPE[2] + events["x"]
        spikes = np.unique((steps * _INPUTS + inputs)[steps < self.time_steps])
        if self.first_event_only:
            _, first = np.unique(spikes % _INPUTS, return_index=True)
            spikes = spikes[np.sort(first)]
        return spikes // _INPUTS, spikes % _INPUTS


def parse_recordings(recordings: Sequence[Recording], binning: Binning) -> EventArrays:
    """The spikes of all recordings; shows its progress when it takes longer than two seconds."""
    most_events = sum(min(recording.size, LARGEST_FILE_BYTES) for recording in recordings) // _EVENT_BYTES
    steps_E, neurons_E = np.empty(most_events, STEP_TYPE), np.empty(most_events, NEURON_TYPE)
    offsets_S1 = np.zeros(len(recordings) + 1, np.int64)
    progress = tqdm(recordings, "reading N-MNIST", unit="file", delay=PROGRESS_AFTER_S)
    for sample, recording in enumerate(progress):
        steps, inputs = binning.spikes(read_recording(recording.path))
        start = offsets_S1[sample]
        end = start + len(steps)
        if end > most_events:
            raise UserError(f"{recording.path} grew while it was read: run again when data.root is at rest.")
        steps_E[start:end], neurons_E[start:end], offsets_S1[sample + 1] = steps, inputs, end
    label_S = np.array([recording.label for recording in recordings], np.uint8)
    return EventArrays(steps_E[: offsets_S1[-1]], neurons_E[: offsets_S1[-1]], offsets_S1, label_S)


def read_recording(path: Path) -> np.ndarray:
    """The events of a file as a structured array (x, y, t in µs, p).

    Raises:
        UserError: naming the file, if it cannot be an N-MNIST recording.
    """
    from tonic.io import read_mnist_file

    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise _bad_recording(path, f"it cannot be read ({error})") from error
    if not content or len(content) % _EVENT_BYTES or len(content) > LARGEST_FILE_BYTES:
        raise _bad_recording(
            path,
            f"its size ({len(content)} bytes read) is not that of 1 to {LARGEST_FILE_BYTES // _EVENT_BYTES} events",
        )
    events: np.ndarray = read_mnist_file(io.BytesIO(content), _EVENT_TYPE, is_stream=True)
    if not len(events):
        raise _bad_recording(path, "it has no events")
    if events["x"].max() >= SENSOR_SHAPE[2] or events["y"].max() >= SENSOR_SHAPE[1]:
        raise _bad_recording(path, "it has events outside the sensor of 34 x 34 pixels")
    if len(events) > 1 and np.diff(events["t"]).min() < -LARGEST_STEP_BACK_US:
        raise _bad_recording(path, "its events are not ordered in time")
    return events


def _bad_recording(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a proper N-MNIST recording: {reason}; replace it by the original.")
