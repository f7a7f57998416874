"""Samples per second of each task's training pass: ``python -m benchmarks.data_loading --root /path``.

``events`` iterates the loader only, ``dense`` also calls ``to_dense`` on each batch (what a dense kernel needs).
A data set that is not under ``--root`` is left out with a line that says so; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.data.augmentation import Augmentation
from app.data.base import EventDataModule
from app.data.mnist_files import find_files
from app.data.nmnist_files import find_folder
from app.data.task import Task
from app.data.tasks.digits import Digits
from app.data.tasks.mnist import MNIST
from app.data.tasks.nmnist import NMNIST
from app.data.tasks.spike_trains import SpikeTrains
from app.errors import run_command


def tasks(root: Path, cache: Path, mnist_val_samples: int) -> Iterator[tuple[str, Task | None]]:
    """Name and task, None where the files are missing."""
    yield "digits", Digits()
    found = find_files(root, "train")
    yield "mnist", MNIST(root=root, val_samples=mnist_val_samples) if found else None
    nmnist = next((f for f in (root, root / "NMNIST_small") if find_folder(f, "train")), None)
    for name, first in (("nmnist multi-spike", False), ("nmnist first event", True)):
        yield name, NMNIST(root=nmnist, cache=cache, first_event_only=first) if nmnist else None
    yield "spike_trains", SpikeTrains()


def samples_per_second(data: EventDataModule, dense: bool, seconds: float) -> float:
    """Of whole training passes until the time is over; a first, short pass warms up and starts workers."""
    loader = data.train_dataloader()
    next(iter(loader))
    samples, start = 0, time.perf_counter()
    while True:
        for batch in loader:
            samples += batch.events.to_dense().shape[1] if dense else batch.events.batch_size
            elapsed = time.perf_counter() - start
            if elapsed > seconds:
                return samples / elapsed


def main(argv: list[str]) -> None:
    """Print one line per task."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_loading", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder with MNIST and N-MNIST")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--mnist-val-samples", type=int, default=10_000)
    parser.add_argument("--event-dropout", type=float, default=0.0)
    parser.add_argument("--max-shift-pixels", type=int, default=0, help="not for spike_trains, which has no pixels")
    parser.add_argument("--time-jitter-steps", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each number is measured")
    options = parser.parse_args(argv)
    print(f"{'task':20} {'samples':>8} {'load s':>8} {'events/sample':>14} {'events':>12} {'dense':>12}   samples/s")
    with tempfile.TemporaryDirectory() as cache:
        for name, task in tasks(options.root, Path(cache), options.mnist_val_samples):
            if task is None:
                print(f"{name:20} not under {options.root}")
                continue
            shift = 0 if name == "spike_trains" else options.max_shift_pixels
            augmentation = Augmentation(options.event_dropout, shift, options.time_jitter_steps)
            loading = {"batch_size": options.batch_size, "num_workers": options.num_workers}
            _report(name, EventDataModule(task, **loading, augmentation=augmentation), options.seconds)


def _report(name: str, data: EventDataModule, seconds: float) -> None:
    start = time.perf_counter()
    data.prepare_data()
    data.setup("fit")
    loading_s = time.perf_counter() - start
    assert data.train_set is not None
    events = len(data.train_set.arrays.steps_E) / len(data.train_set.arrays)
    rates = [samples_per_second(data, dense, seconds) for dense in (False, True)]
    print(f"{name:20} {len(data.train_set):8} {loading_s:8.2f} {events:14.1f} {rates[0]:12,.0f} {rates[1]:12,.0f}")


if __name__ == "__main__":
    run_command(main)
