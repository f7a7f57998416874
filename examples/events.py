"""Recordings of an event camera in files of one's own: a bar that moves to the left or to the right.

python -m examples.events [key=value …]
"""

from pathlib import Path

import numpy as np

from app.train import main as train
from examples.settings import settings

rng = np.random.default_rng(0)
for name, direction in (("left", -1), ("right", 1)):
    folder = Path("bars") / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(60):
        t = np.sort(rng.integers(0, 100_000, 200))  # microseconds
        x = (direction * (t // 6_250) + rng.integers(3, size=200)) % 16
        y, p = rng.integers(0, 16, 200), rng.integers(0, 2, 200)
        np.savez(folder / f"{number:02}.npz", t=t, x=x, y=y, p=p)

SETTINGS = ["data.path=bars", "data.sensor=[2,16,16]", "data.window_ms=100", "time_steps=100", "data.val_samples=20"]
NEURON = ["neuron.alpha_v=0.97", "neuron.alpha_i=0.9", "optim.lr=0.005", "data.batch_size=8", "init_bias_center=1"]
train(settings("task=events", *SETTINGS, *NEURON, "network=[2x16x16,flatten,fc60,fc2]", "trainer.max_epochs=10"))
