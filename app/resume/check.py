"""Whether what a checkpoint holds can be taken over: one check for every tensor, one for everything else."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

MOST = 2**53
"""No counter is larger."""


def tensor_trouble(content: Any) -> str | None:
    """What is wrong with a tensor anywhere in nested containers, None if all are ordinary arrays of finite numbers.

    An ordinary array is dense, on the CPU, of real numbers, and has a place in the file for each of them: nothing takes
    more memory than the file is long.
    """
    places, seen = [("", content)], set()
    while places:
        place, value = places.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            places += [(f"{place}.{key}".lstrip("."), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            places += [(f"{place}.{index}".lstrip("."), part) for index, part in enumerate(value)]
        elif isinstance(value, Tensor) and (trouble := _trouble(value)):
            return f"{place} {trouble}"
    return None


def _trouble(value: Tensor) -> str | None:
    plain = type(value) in (Tensor, torch.nn.Parameter) and not value.is_quantized and not value.is_complex()
    if not plain or value.layout != torch.strided or value.device.type != "cpu":
        return "is no dense array of real numbers"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "claims more numbers than the file holds"
    if value.is_floating_point() and not math.isfinite(value.detach().sum(dtype=torch.float64)):
        return "holds numbers that are not finite"
    return None


def unlike(own: Any, loaded: Any, place: str = "") -> str | None:
    """The first place at which a loaded state is not built like the one that this run itself has there.

    Containers have the same keys or length, tensors the same shape, numbers are finite, counters counters. What is None
    in the own state may be anything, and an empty list of any length.

    Returns:
        the dotted place, "" for all of it; None if there is no such place.
    """
    if isinstance(own, dict):
        if not isinstance(loaded, dict):
            return place
        keys: Any = own
    elif isinstance(own, list | tuple):
        if not isinstance(loaded, list | tuple) or len(own) not in (0, len(loaded)):
            return place
        keys = range(len(own))
    else:
        return None if _alike(own, loaded) else place
    for key in keys:
        below = f"{place}.{key}".lstrip(".")
        if isinstance(own, dict) and key not in loaded:
            return below
        if (found := unlike(own[key], loaded[key], below)) is not None:
            return found
    return None


def _alike(own: Any, loaded: Any) -> bool:
    if isinstance(own, Tensor):
        return isinstance(loaded, Tensor) and loaded.shape == own.shape
    if isinstance(own, bool | str):
        return isinstance(loaded, type(own))
    if isinstance(own, int | float) and isinstance(loaded, float):
        return math.isfinite(loaded)  # a Timer's seconds, which may be negative while a validation runs
    if isinstance(own, int | float):
        return isinstance(loaded, int) and not isinstance(loaded, bool) and 0 <= loaded < MOST
    return True
