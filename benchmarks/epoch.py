"""Where the time of an epoch of ``train.py`` goes: ``python -m benchmarks.epoch [--json FILE] [key=value …]``.

Runs the command's own objects for one epoch, validation included, with a clock around whatever is arithmetic: compiled
kernels (waiting for their threads included), the optimiser's update and the gradient's norm. What is left is Python:
Lightning's loop and hooks, autograd, the loader, metrics and logging. The first steps, in which everything is loaded or
compiled, are not counted. The default is ``config=mnist_antlr``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from app.engines import event_driven
from app.errors import UserError, run_command
from app.losses import latency
from app.training import module
from app.training.build import build_run
from app.training.start import prepare

WARM_UP_STEPS = 20
CLOCKED = {
    "kernels": ((event_driven, "parallel"), (event_driven.kernels, "live_steps"), (latency, "latency_errors")),
    "optimiser": ((torch, "_fused_adam_"), (torch, "_fused_adamw_"), (module, "get_total_norm")),
}


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch and where they went.

    Args:
        settings: the arguments of ``train.py``.
        samples: training samples that were counted.
        training_s: of their steps.
        validation_s: of the validation.
        step_ms: median of a training step.
        kernels_s, optimiser_s: what of both was arithmetic.
    """

    settings: list[str]
    samples: int
    training_s: float
    validation_s: float
    step_ms: float
    kernels_s: float
    optimiser_s: float

    @property
    def outside(self) -> float:
        """The share of the time spent outside arithmetic."""
        return 1 - (self.kernels_s + self.optimiser_s) / (self.training_s + self.validation_s)

    def __str__(self) -> str:
        whole_s = self.training_s + self.validation_s
        parts = {"kernels": self.kernels_s, "optimiser": self.optimiser_s, "outside arithmetic": self.outside * whole_s}
        shares = "\n".join(f"  {name:20} {s:7.2f} s  {100 * s / whole_s:5.1f} %" for name, s in parts.items())
        return (
            f"{' '.join(self.settings)}: {self.samples} samples in {self.training_s:.2f} s (median step "
            f"{self.step_ms:.2f} ms), validation {self.validation_s:.2f} s\n{shares}"
        )


class Clock(L.Callback):
    """Adds up the seconds of an epoch, and those of the functions in ``CLOCKED``."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.steps_s: list[float] = []
        self.samples = 0
        self._since_s = 0.0

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Add the time of a function to a part."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[part] += time.perf_counter() - start

        setattr(owner, name, timed)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, i: int):
        """A step ends and the next one begins."""
        now_s = time.perf_counter()
        if i + 1 == WARM_UP_STEPS:
            self.spent.clear()
        elif i >= WARM_UP_STEPS:
            self.steps_s.append(now_s - self._since_s)
            self.samples += len(batch.label_B)
        self._since_s = now_s

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """All that came since the last step is validation."""
        self.spent["validation"] += time.perf_counter() - self._since_s


def measure(settings: list[str]) -> Epoch:
    """Run one epoch in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(prepare([*settings, "trainer.max_epochs=1", "probes.raster=false", f"out={folder}/run"]))
        clock = Clock()
        run.trainer.callbacks.append(clock)
        for part, functions in CLOCKED.items():
            for owner, name in functions:
                clock.watch(owner, name, part)
        with run.opened():
            run.trainer.fit(run.module, datamodule=run.data)
    if not clock.steps_s:
        raise UserError(f"the epoch has at most {WARM_UP_STEPS} steps, which are not counted; lower data.batch_size.")
    parts = (clock.spent[part] for part in ("validation", "kernels", "optimiser"))
    validation_s, kernels_s, optimiser_s = (round(s, 3) for s in parts)
    step_ms = round(1e3 * statistics.median(clock.steps_s), 3)
    training_s = round(sum(clock.steps_s), 3)
    return Epoch(settings, clock.samples, training_s, validation_s, step_ms, kernels_s, optimiser_s)


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers")
    options, settings = parser.parse_known_args(argv)
    if not any(setting.startswith(("config=", "task=")) for setting in settings):
        settings = ["config=mnist_antlr", *settings]
    epoch = measure(settings)
    print(epoch)
    if options.json:
        options.json.write_text(json.dumps(asdict(epoch) | {"outside": round(epoch.outside, 4)}, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
