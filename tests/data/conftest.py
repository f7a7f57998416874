"""Small synthetic data sets in the formats of the real ones."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.synthetic import idx_bytes, recording_bytes


@pytest.fixture
def make_mnist(tmp_path: Path) -> Callable[..., Path]:
    """Write a small MNIST into ``tmp_path/<folder>``; labels are 0, 1, ..., 9, 0, ..."""

    def make(train: int = 30, test: int = 10, folder: str = "MNIST/raw", compress: bool = True) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for prefix, count in (("train", train), ("t10k", test)):
            images = rng.integers(0, 256, (count, 28, 28)) * (rng.random((count, 28, 28)) < 0.2)
            for name, array in (("images-idx3", images), ("labels-idx1", np.arange(count) % 10)):
                content = idx_bytes(array)
                path = target / f"{prefix}-{name}-ubyte{'.gz' if compress else ''}"
                path.write_bytes(gzip.compress(content) if compress else content)
        return tmp_path

    return make


@pytest.fixture
def make_nmnist(tmp_path: Path) -> Callable[..., Path]:
    """Write a small N-MNIST into ``tmp_path/root/<folder>``: random events up to 320 ms, sorted by time."""

    def make(per_label: int = 3, events: int = 400, folder: str = ".") -> Path:
        rng = np.random.default_rng(1)
        index = 0
        for split in ("Train", "Test"):
            for label in range(10):
                target = tmp_path / "root" / folder / split / str(label)
                target.mkdir(parents=True)
                for _ in range(per_label):
                    index += 1
                    xs, ys, ps = rng.integers(0, 34, events), rng.integers(0, 34, events), rng.integers(0, 2, events)
                    times = np.sort(rng.integers(0, 320_000, events))
                    rows = [tuple(map(int, row)) for row in zip(xs, ys, times, ps, strict=True)]
                    (target / f"{index:05d}.bin").write_bytes(recording_bytes(rows))
        return tmp_path / "root"

    return make
