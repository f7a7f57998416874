"""The scikit-learn digits, latency-coded: 1797 images of 8 x 8 that need no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import EventDataModule
from .encoding import check_latency, encode_latency
from .event_dataset import EventDataset
from .split import split_train_val

FULL_INTENSITY = 16
TEST_SHARE = 0.2
TEST_SEED = 0


class DigitsDataModule(EventDataModule):
    """8 x 8 digits with intensities 0..16, coded as in MNIST: t = trunc(max - (max - min) v / 16), 0 never fires.

    The test split is fixed, whatever the seed: the stratified 20 % (360 images) that scikit-learn's
    ``train_test_split`` draws with random state 0. The validation images are drawn from the others by ``seed``.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test part.

    Args:
        val_samples: size of the validation split; the default leaves 1200 training images.
        latency_min_steps: the step of a pixel of full intensity.
        latency_max_steps: the limit of the step for intensity towards 0.
        time_steps: T, the length of the window in steps.
        **loading: see :class:`EventDataModule`.
    """

    input_shape = (1, 8, 8)
    num_classes = 10

    def __init__(
        self,
        *,
        time_steps: int = 100,
        val_samples: int = 237,
        latency_min_steps: int = 0,
        latency_max_steps: int = 24,
        **loading: Any,
    ) -> None:
        super().__init__(time_steps=time_steps, **loading)
        check_latency(FULL_INTENSITY, latency_min_steps, latency_max_steps, time_steps)
        self.val_samples = val_samples
        self.latency_steps = (latency_min_steps, latency_max_steps)

    def load_train_val(self) -> tuple[EventDataset, EventDataset]:
        """The images outside the test split, divided by the seed."""
        images_SN, label_S, others, _ = _load()
        train, val = split_train_val(len(others), self.val_samples, self.seed, "the digits")
        train, val = others[train], others[val]
        return self._encode(images_SN[train], label_S[train]), self._encode(images_SN[val], label_S[val])

    def load_test(self) -> EventDataset:
        """The fixed test split."""
        images_SN, label_S, _, test = _load()
        return self._encode(images_SN[test], label_S[test])

    def _encode(self, images_SN: np.ndarray, label_S: np.ndarray) -> EventDataset:
        arrays = encode_latency(images_SN, label_S, FULL_INTENSITY, *self.latency_steps)
        return EventDataset(arrays, self.time_steps, self.input_shape)


def _load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels, and the rows outside and inside the test split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    rows = np.arange(len(digits.target))
    others, test = train_test_split(rows, test_size=TEST_SHARE, random_state=TEST_SEED, stratify=digits.target)
    return digits.data.astype(np.uint8), digits.target, np.sort(others), np.sort(test)
