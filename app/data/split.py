"""The split of the training samples into training and validation."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import UserError
from ..seeds import torch_generator


def split_train_val(samples: int, val_samples: int, seed: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and of the validation samples: a random choice, f(seed), each part in ascending order.

    Args:
        samples: how many there are in all.
        val_samples: how many of them become validation samples.
        seed: of the choice.
        source: where the samples come from, for the message.

    Raises:
        UserError: if no sample is left for one of the two parts.
    """
    if samples < 2 or not 1 <= val_samples < samples:
        raise UserError(
            f"data.val_samples = {val_samples} does not fit the {samples} training samples in {source}: "
            f"set data.val_samples between 1 and {max(samples - 1, 1)}, or data.root to a larger data set."
        )
    shuffled = torch.randperm(samples, generator=torch_generator(seed, "split")).numpy()
    return np.sort(shuffled[val_samples:]), np.sort(shuffled[:val_samples])
