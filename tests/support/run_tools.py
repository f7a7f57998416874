"""What the tests of whole runs share: short runs in this process, and their parts for comparison."""

import csv
from pathlib import Path

import torch

import train
from reliability.digest import digests_of

FAST = [
    "network=[64,fc20,fc10]",
    "time_steps=30",
    "data.batch_size=32",
    "data.eval_batch_size=64",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=8",
    "trainer.log_every_n_steps=3",
    "trainer.enable_progress_bar=false",
    "tracking.mode=disabled",
    "checkpoint_every_s=0",
    "probes.raster=false",
    "optim.schedule=constant",
]


def fast(*argv: str) -> list[str]:
    """The arguments of a short run; those given win."""
    given = {argument.split("=")[0] for argument in argv}
    return [*(a for a in FAST if a.split("=")[0] not in given), *argv]


def run(*argv: str) -> None:
    """A new run."""
    assert train.main(fast(*argv)) == 0


def resume(out: str, *argv: str) -> None:
    """Go on with a run."""
    assert train.main(["ckpt=last", f"out={out}", *argv]) == 0


def checkpoint(out: str, name: str = "last") -> dict:
    return torch.load(Path(out) / f"checkpoints/{name}.ckpt", weights_only=True)


def state_of(out: str) -> dict[str, str]:
    """Hashes of everything that a run must not lose, and the table of metrics."""
    return {**digests_of(Path(out)), "metrics.csv": (Path(out) / "metrics.csv").read_text()}


def rows(out: str) -> list[dict[str, str]]:
    with (Path(out) / "metrics.csv").open() as file:
        return list(csv.DictReader(file))
