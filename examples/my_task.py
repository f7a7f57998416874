"""A task of one's own: two classes of random spikes, told apart by which half of the inputs fires first.

python train.py plugins=[examples/my_task.py] task=my_task data.noise=0.1 trainer.max_epochs=5
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from app.data.event_arrays import EventArrays
from app.data.event_dataset import EventDataset
from app.data.tasks import TASKS, Task
from app.settings import setting


@TASKS.register("my_task")
@dataclass(frozen=True)
class MyTask(Task):
    """40 inputs that fire once each, those of one half in the first half of the window, the others in the second."""

    input_shape: ClassVar[tuple[int, ...]] = (40,)
    num_classes: ClassVar[int] = 2
    usual_network: ClassVar[tuple[str, ...]] = ("40", "fc20", "fc2")
    usual_time_steps: ClassVar[int] = 50

    noise: float = setting(0.05, "share of the inputs that fire in the wrong half of the window", ge=0, lt=0.5)

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """400 and 100 samples."""
        return self._samples(400, time_steps, (seed, 0)), self._samples(100, time_steps, (seed, 1))

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """200 samples, the same for every seed."""
        return self._samples(200, time_steps, (0, 2))

    def _samples(self, samples: int, time_steps: int, stream: tuple[int, int]) -> EventDataset:
        rng = np.random.default_rng(stream)
        label_S = np.arange(samples) % 2
        is_late_SN = (np.arange(40) < 20) == label_S[:, None]
        is_late_SN ^= rng.random((samples, 40)) < self.noise
        step_SN = rng.integers(0, time_steps // 2, (samples, 40)) + is_late_SN * (time_steps // 2)
        spikes_STN = np.arange(time_steps)[:, None] == step_SN[:, None]
        return EventDataset(EventArrays.from_dense(spikes_STN, label_S), time_steps, self.input_shape)
