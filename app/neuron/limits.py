"""The numbers that single precision, in which networks compute, can hold."""

from __future__ import annotations

import torch

SMALLEST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


def require_single_precision(**values: float) -> None:
    """Refuse what would become infinite.

    Args:
        **values: numbers by the name of the argument that gave them.

    Raises:
        ValueError: an absolute value is above 3.4e38, or a value is no number.
    """
    for name, value in values.items():
        if not abs(value) <= LARGEST:
            raise ValueError(f"{name}={value} must be at most {LARGEST:.3g}, as a float32 holds")
