"""Would many trials in one process pay: ``python -m benchmarks.together [key=value …]``; default: digits and MNIST.

Asked of K trials of one network that take their steps together, one call of the engine for all of them, against a
process for each, two at the same time on two cores. A step is taken apart, in CPU time of one thread, so that other
work on the machine disturbs little:

- *engine*: its forward and backward passes, for the batch of one trial, and per trial when K batches go through in one
  call. The latter has the same weights for all, and is thus a bound for K different networks;
- *own*: what each trial would keep to itself. Its numbers are to be those of a run alone, bit for bit: so its batch,
  its loss and the gradient of that, metrics, gradient norm and optimiser. Its files and its ways to stop are its own:
  so the callbacks and the rows of the metrics file;
- *shared*: all the rest, Lightning's loop and autograd's. How much of it K trials could do once is not known: all of
  it is a bound, two thirds a guess.

K trials may be in one process, or half of them in each of two. On the CPU one process does the own parts one after the
other, and the engine's on two threads. On a GPU the host's part of a step stays as it is here, but for the engine's,
which launches kernels. Those run meanwhile, as long as :mod:`benchmarks.gpu_kernels` predicts: a step takes what takes
longer. Processes share the GPU, one kernel after another, and each has a core of the host. *Start* is what a run takes
before its first step.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer import call

from app.data.event_dataset import EventDataset
from app.engines import event_driven
from app.errors import run_command
from app.metrics import SpikeMetrics
from app.resume.metrics_file import MetricsFile
from app.training import module
from app.training.build import build_run
from app.training.start import prepare
from benchmarks.gpu_kernels import GPUS, LAUNCH_S, LAUNCHES_PER_LAYER, Gpu, Work, predict

TOGETHER = 16
CORES = 16
"""Of the host, for each GPU, as in most machines with several of them."""
WARM_UP_STEPS = 10
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "engine": ((event_driven, "_forward"), (event_driven, "_gradients")),
    "own": (
        (EventDataset, "__getitem__"),
        (module.SpikingModule, "loss"),
        (L.LightningModule, "backward"),
        (SpikeMetrics, "remember"),
        (module, "get_total_norm"),
        (torch, "_fused_adam_"),
        (torch, "_fused_adamw_"),
        (call, "_call_callback_hooks"),
        (MetricsFile, "log_metrics"),
    ),
}
SHARED = {"nothing": 0.0, "a third": 1 / 3}
"""What each of K trials keeps of the shared part."""
SHORT = ("probes.raster=false", "trainer.enable_progress_bar=false", "tracking.mode=disabled", "trainer.max_epochs=40")
SHORT += ("trainer.limit_val_batches=0", "trainer.max_steps=60")


@dataclass(frozen=True)
class Parts:
    """Milliseconds of CPU time of a training step, and where they go.

    Args:
        step, engine, own: of one trial alone.
        stacked: the engine's part for each of K batches that go through together.
        start_s: CPU seconds of a whole process that takes one step.
        work: the step's sizes.
    """

    step: float
    engine: float
    own: float
    stacked: float
    start_s: float
    work: Work

    @property
    def shared(self) -> float:
        """What K trials might do once."""
        return self.step - self.engine - self.own

    def on_cpu(self, processes: int, kept: float) -> float:
        """How many times as fast as jobs=2 K trials in one or two processes are, if each keeps a share of *shared*."""
        own = self.own + kept * self.shared
        return (self.step / 2) / (own / processes + self.stacked / 2)

    def jobs_on_gpu(self, gpu: Gpu, jobs: int) -> float:
        """Milliseconds for a step of each trial, if each has a process."""
        return max((self.step - self.engine + self._launches) / jobs, 1e3 * predict(self.work, gpu).device_s)

    def together_on_gpu(self, gpu: Gpu, processes: int, kept: float) -> float:
        """Milliseconds for a step of each of K trials, if each keeps a share of *shared*."""
        own = self.own + kept * self.shared + self._launches / TOGETHER
        many = replace(self.work, batch=TOGETHER * self.work.batch)
        return max(own / processes, 1e3 * predict(many, gpu).device_s / TOGETHER)

    @property
    def _launches(self) -> float:
        return 1e3 * LAUNCH_S * LAUNCHES_PER_LAYER * (len(self.work.sizes) - 1)


class _Clock(L.Callback):
    """CPU time of this thread, whole and by part, of the steps behind the warm-up; a part within another is its own."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.steps: list[float] = []
        self.events, self.samples = 0, 0
        self._within: list[float] = []

    def watch(self, owner: Any, name: str, part: str) -> Callable[[], None]:
        """Add the time of a function to a part; returns what ends it."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            self._within.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.thread_time() - start
                self.spent[part] += whole - self._within.pop()
                if self._within:
                    self._within[-1] += whole

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, function)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, i: int):
        """A step ends and the next one begins."""
        if trainer.global_step == WARM_UP_STEPS:
            self.spent.clear()
            self.steps.clear()
        self.events += len(batch.events.steps_E)
        self.samples += len(batch.label_B)
        self.steps.append(time.thread_time())

    def ms(self, seconds: float) -> float:
        """Per step."""
        return 1e3 * seconds / (len(self.steps) - 1)


def _run(settings: list[str]) -> tuple[_Clock, tuple[int, ...]]:
    """A short training, and the sizes of its layers."""
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
    network = run.module.network
    return clock, (prod(network.input_shape), *(prod(layer.shape) for layer in network.spiking))


def measure(settings: list[str]) -> Parts:
    """Take a step of these settings apart."""
    (clock, sizes), config = _run(settings), prepare(settings).config
    step = clock.ms(clock.steps[-1] - clock.steps[0])
    many, _ = _run([*settings, f"data.batch_size={TOGETHER * config.data.batch_size}"])
    line = [sys.executable, "-c", ONE_STEP, *settings, *SHORT]
    start_s = float(subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()[-1])
    engine, own = (clock.ms(clock.spent[part]) for part in PARTS)
    work = Work(sizes, config.time_steps, config.data.batch_size, round(clock.events / clock.samples))
    return Parts(step, engine, own, many.ms(many.spent["engine"]) / TOGETHER, start_s, work)


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
            f"{config}: step {p.step:.2f} ms = engine {p.engine:.2f} + own {p.own:.2f} + shared {p.shared:.2f}; engine "
            f"of {TOGETHER} together {p.stacked:.2f} each; start {p.start_s:.1f} s",
            flush=True,
        )
        for gpu in GPUS:
            alone = {jobs: p.jobs_on_gpu(gpu, jobs) for jobs in (1, 2, CORES)}
            told = ", ".join(f"jobs={jobs} {ms:.3f}" for jobs, ms in alone.items())
            print(f"  {gpu.name}, ms for a step of each trial: {told}; kernels {p.jobs_on_gpu(gpu, 10**9):.3f}")
        for name, kept in SHARED.items():
            for processes in (1, 2):
                faster = {"CPU": p.on_cpu(processes, kept)}
                faster |= {g.name: p.jobs_on_gpu(g, 2) / p.together_on_gpu(g, processes, kept) for g in GPUS}
                told = ", ".join(f"{where} {times:.2f}" for where, times in faster.items())
                print(f"  keeping {name} of shared, {processes} process(es): {told} times as fast as jobs=2")


if __name__ == "__main__":
    run_command(main)
