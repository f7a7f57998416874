"""What every loss checks of its arguments, so that compiled and plain code refuse the same in the same words."""

from __future__ import annotations

import torch
from torch import Tensor


def check_channels(spikes_TBN: Tensor, times_TBN: Tensor | None = None) -> None:
    """Refuse output spikes that have not the axes [T, B, N], and times of another shape.

    Raises:
        ValueError: naming the argument.
    """
    if not isinstance(spikes_TBN, Tensor) or spikes_TBN.dim() != 3 or not spikes_TBN.numel():
        raise ValueError(f"spikes_TBN {_shown(spikes_TBN)} must have the axes [T, B, N], none of them empty")
    if not spikes_TBN.is_floating_point():
        raise ValueError(f"spikes_TBN is {spikes_TBN.dtype}; give floating point numbers, as a network does")
    if times_TBN is not None and (not isinstance(times_TBN, Tensor) or times_TBN.shape != spikes_TBN.shape):
        raise ValueError(f"times_TBN {_shown(times_TBN)} must have the shape of spikes_TBN, {tuple(spikes_TBN.shape)}")


def check_labels(label_B: Tensor, spikes_TBN: Tensor) -> None:
    """Refuse labels that are not one class of each sample.

    Raises:
        ValueError: naming the argument.
    """
    samples, classes = spikes_TBN.shape[1:]
    if not isinstance(label_B, Tensor) or label_B.dtype not in INTEGERS or label_B.shape != (samples,):
        raise ValueError(f"label_B {_shown(label_B)} must hold {samples} integers, one for each sample [B]")
    check_classes(label_B, classes)


def check_classes(label_B: Tensor, classes: int) -> None:
    """Refuse labels that are no class; on an accelerator, which would have to be waited for, its own check is left.

    Raises:
        ValueError: naming the argument.
    """
    if label_B.device.type == "cpu" and not bool(((label_B >= 0) & (label_B < classes)).all()):
        given = f"{int(label_B.min())} to {int(label_B.max())}"
        raise ValueError(f"label_B must hold classes from 0 to {classes - 1}, but holds {given}")


def check_target(target: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse a target of another shape, which would otherwise be repeated to fit.

    Raises:
        ValueError: naming the argument.
    """
    if not isinstance(target, Tensor) or tuple(target.shape) != tuple(shape):
        raise ValueError(f"{name} {_shown(target)} must have the shape {tuple(shape)}")


INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _shown(value: object) -> str:
    return (
        f"of shape {tuple(value.shape)} and type {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
    )
