"""Temporal order: two bursts with a silence between them; the classes are which came first and which second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...settings import setting
from ..event_arrays import EventArrays
from ..event_dataset import EventDataset
from ..task import TASKS, Task

GROUP, BURST_STEPS = 5, 4
"""Inputs of a kind of burst, and the steps within which each of them fires once."""
SAMPLES = {"train": 2000, "val": 500, "test": 500}
STREAMS = {"train": 32, "val": 31, "test": 30}


@TASKS.register("temporal_order")
@dataclass(frozen=True)
class TemporalOrder(Task):
    """Bursts of kind A (five inputs) or B (five others), one early and one ``gap_steps`` ± 2 later: AA, AB, BA, BB.

    When the first burst comes is drawn as well, so that the time of a burst says nothing. A network that has forgotten
    the first burst when the second comes tells AA and BB from the rest, which is 75 % at most; one that remembers by
    delays or by its own spikes can do all. 2000, 500 and 500 samples, the same whatever the seed.
    After the temporal order problem of Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.6.
    """

    input_shape: ClassVar[tuple[int, ...]] = (2 * GROUP,)
    num_classes: ClassVar[int] = 4
    usual_network: ClassVar[tuple[str, ...]] = ("10", "fc40", "fc4")
    usual_time_steps: ClassVar[int] = 60
    usual_loss: ClassVar[str | None] = "count"

    gap_steps: int = setting(25, "steps between the two bursts, on average", ge=8)

    def problems(self, config: Any) -> Iterator[str]:
        """A gap for which the window has no room."""
        if (least := self.gap_steps + 20) > config.time_steps:
            yield f"data.gap_steps={self.gap_steps} needs time_steps={least} or more; lower it or raise time_steps"

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """2000 and 500 samples."""
        return self._samples("train", time_steps), self._samples("val", time_steps)

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """500 samples."""
        return self._samples("test", time_steps)

    def _samples(self, part: str, time_steps: int) -> EventDataset:
        rng, samples = np.random.default_rng(STREAMS[part]), SAMPLES[part]
        label_S = np.arange(samples) % 4
        first_S = rng.integers(0, 10, samples)
        gap_S = self.gap_steps + rng.integers(-2, 3, samples)
        spikes_STN = np.zeros((samples, time_steps, *self.input_shape), np.bool_)
        for kind_S, start_S in ((label_S // 2, first_S), (label_S % 2, first_S + gap_S)):
            for i in range(GROUP):
                steps_S = start_S + rng.integers(0, BURST_STEPS, samples)
                spikes_STN[np.arange(samples), steps_S, kind_S * GROUP + i] = True
        return EventDataset(EventArrays.from_dense(spikes_STN, label_S), time_steps, self.input_shape)
