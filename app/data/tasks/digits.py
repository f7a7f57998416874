"""The scikit-learn digits, latency-coded: 1797 images of 8 x 8 that need no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...settings import setting
from ..event_dataset import EventDataset
from ..latency_coded import LatencyCoded
from ..split import split_train_val
from ..task import TASKS

TEST_SHARE = 0.2
TEST_SEED = 0


@TASKS.register("digits")
@dataclass(frozen=True)
class Digits(LatencyCoded):
    """8 x 8 digits with intensities 0..16, coded as in MNIST: t = trunc(max - (max - min) v / 16), 0 never fires.

    The test split is fixed, whatever the seed: the stratified 20 % (360 images) that scikit-learn's
    ``train_test_split`` draws with random state 0. The validation images are drawn from the others by the seed; by
    default 1200 training images are left.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test part.
    """

    full_intensity: ClassVar[int] = 16
    input_shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    num_classes: ClassVar[int] = 10
    usual_network: ClassVar[tuple[str, ...]] = ("64", "fc200", "fc10")

    val_samples: int = setting(237, "training samples held out for validation", ge=1)

    def load_train_val(self, time_steps: int, seed: int) -> tuple[EventDataset, EventDataset]:
        """The images outside the test split, divided by the seed."""
        images_SN, label_S, others, _ = _load()
        train, val = split_train_val(len(others), self.val_samples, seed, "the digits")
        train, val = others[train], others[val]
        return (
            self.encoded(images_SN[train], label_S[train], time_steps),
            self.encoded(images_SN[val], label_S[val], time_steps),
        )

    def load_test(self, time_steps: int, seed: int) -> EventDataset:
        """The fixed test split."""
        images_SN, label_S, _, test = _load()
        return self.encoded(images_SN[test], label_S[test], time_steps)


def _load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels, and the rows outside and inside the test split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    rows = np.arange(len(digits.target))
    others, test = train_test_split(rows, test_size=TEST_SHARE, random_state=TEST_SEED, stratify=digits.target)
    return digits.data.astype(np.uint8), digits.target, np.sort(others), np.sort(test)
