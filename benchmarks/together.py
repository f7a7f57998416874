"""Would many trials in one process pay: ``python -m benchmarks.together [key=value …]``; default: digits and MNIST.

Asked of K trials of one network that take their steps together, one call of the engine for all of them, against K
processes of which two run at the same time on two cores. A step is taken apart, in CPU time of one thread, so that
other work on the machine disturbs little:

- *engine*: its forward and backward passes, for the batch of one trial, and per trial when K batches go through in one
  call. The latter has the same weights for all, and is thus a bound for K different networks;
- *own*: what each trial would keep to itself, since its numbers are to be those of a run alone: its batch, metrics,
  gradient norm and optimiser;
- *shared*: all the rest, loss and Lightning's loop, taken to cost nothing at all when K trials share it.

The bound of the gain is then K/2 whole steps over K own parts, which one process does one after the other, and half of
K engine parts, for the engine has two threads. *Start* is what a run takes before its first step.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

from app.data.event_dataset import EventDataset
from app.engines import event_driven
from app.errors import run_command
from app.metrics import SpikeMetrics
from app.training import module
from app.training.build import build_run
from app.training.start import prepare

TOGETHER = 16
WARM_UP_STEPS = 10
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "engine": ((event_driven, "_forward"), (event_driven, "_gradients")),
    "own": (
        (EventDataset, "__getitem__"),
        (SpikeMetrics, "remember"),
        (module, "get_total_norm"),
        (torch, "_fused_adam_"),
        (torch, "_fused_adamw_"),
    ),
}
SHORT = ("probes.raster=false", "trainer.enable_progress_bar=false", "tracking.mode=disabled", "trainer.max_epochs=40")
SHORT += ("trainer.limit_val_batches=0", "trainer.max_steps=60")


@dataclass(frozen=True)
class Parts:
    """Milliseconds of CPU time of a training step, and where they go.

    Args:
        step, engine, own: of one trial alone.
        stacked: the engine's part for each of K batches that go through together.
        start_s: CPU seconds of a whole process that takes one step.
    """

    step: float
    engine: float
    own: float
    stacked: float
    start_s: float

    @property
    def bound(self) -> float:
        """How many times faster K trials could be at best, without their start."""
        return (TOGETHER / 2) * self.step / (TOGETHER * self.own + TOGETHER * self.stacked / 2)


class _Clock(L.Callback):
    """CPU time of this thread, whole and by part, of the steps behind the warm-up."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.steps: list[float] = []

    def watch(self, owner: Any, name: str, part: str) -> Callable[[], None]:
        """Add the time of a function to a part; returns what ends it."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[part] += time.thread_time() - start

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, function)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, i: int):
        """A step ends and the next one begins."""
        if trainer.global_step == WARM_UP_STEPS:
            self.spent.clear()
            self.steps.clear()
        self.steps.append(time.thread_time())

    def ms(self, seconds: float) -> float:
        """Per step."""
        return 1e3 * seconds / (len(self.steps) - 1)


def _run(settings: list[str]) -> _Clock:
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(prepare([*settings, *SHORT, f"out={folder}/run"]))
        undo = [clock.watch(owner, name, part) for part, found in PARTS.items() for owner, name in found]
        run.trainer.callbacks.append(clock)
        try:
            with run.opened():
                run.trainer.fit(run.module, datamodule=run.data)
        finally:
            for one in undo:
                one()
    return clock


def measure(settings: list[str]) -> Parts:
    """Take a step of these settings apart."""
    clock, config = _run(settings), prepare(settings).config
    step = clock.ms(clock.steps[-1] - clock.steps[0])
    many = _run([*settings, f"data.batch_size={TOGETHER * config.data.batch_size}"])
    line = [sys.executable, "-c", ONE_STEP, *settings, *SHORT]
    start_s = float(subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()[-1])
    engine, own = (clock.ms(clock.spent[part]) for part in PARTS)
    return Parts(step, engine, own, many.ms(many.spent["engine"]) / TOGETHER, start_s)


ONE_STEP = """
import sys, tempfile, time
from app.training.build import build_run
from app.training.start import prepare
given = [a for a in sys.argv[1:] if not a.startswith("trainer.max_steps")]
with tempfile.TemporaryDirectory() as folder:
    run = build_run(prepare([*given, "trainer.max_steps=1", f"out={folder}/run"]))
    with run.opened():
        run.trainer.fit(run.module, datamodule=run.data)
print(time.process_time())
"""


def main(argv: list[str]) -> None:
    """Measure and print; on two cores, to be run with one: ``taskset -c 0``."""
    if "--help" in argv:
        print(__doc__)
        return
    torch.set_num_threads(1)
    for config in ("digits_antlr", "mnist_antlr"):
        p = measure([f"config={config}", *argv])
        print(
            f"{config:13} step {p.step:.2f} ms = engine {p.engine:.2f} + own {p.own:.2f} + shared "
            f"{p.step - p.engine - p.own:.2f}; engine of {TOGETHER} together {p.stacked:.2f} each: "
            f"at most {p.bound:.2f} times as fast as jobs=2; start {p.start_s:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main)
