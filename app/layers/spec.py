"""Networks from a list such as ``["2x34x34", "conv12c5", "apool2", "flatten", "fc10"]``."""

from __future__ import annotations

import re
from math import prod

from torch import nn

from . import AveragePool, Flatten, MaxPool, Shape, SpikingLayer
from .delays import Delays
from .synapses import Conv, Dense

MOST_NEURONS, MOST_WEIGHTS = 2**24, 2**28
"""Of one layer. More would exhaust the memory of ordinary machines while the network is built, or in its first step."""


def build_layers(spec: list[str], bias: float, delays: Delays | None = None) -> tuple[Shape, nn.ModuleList]:
    """The input shape and the layers of a specification.

    Args:
        spec: input shape, then layers; see :class:`app.network.Network`.
        bias: what all biases start with.
        delays: of the fully connected layers.

    Raises:
        ValueError: naming the entry that cannot be built.
    """
    if len(spec) < 2:
        raise ValueError(f"network={spec} needs an input shape and at least one layer, for example [784,fc800,fc10]")
    input_shape = shape = _input_shape(spec[0])
    layers = nn.ModuleList()
    for position, entry in enumerate(spec[1:], start=2):
        layer, shape = _layer(entry, f"entry {position} of network, {entry!r},", shape, bias, delays)
        layers.append(layer)
    if not isinstance(layers[-1], SpikingLayer) or len(shape) != 1:
        raise ValueError(
            f"network must end with a fully connected layer, not with {spec[-1]!r}; append for example fc10"
        )
    return input_shape, layers


def _input_shape(entry: str) -> Shape:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*x[1-9]\d*)?", entry):
        raise ValueError(
            f"entry 1 of network, {entry!r}, is no input shape; write 784 or 2x34x34 (channels, rows, columns)"
        )
    shape = tuple(int(n) for n in entry.split("x"))
    _check_size(f"entry 1 of network, {entry!r},", prod(shape), 0)
    return shape


def _check_size(where: str, neurons: int, weights: int) -> None:
    """Refuse a layer before anything of its size is made."""
    for count, most, what in ((neurons, MOST_NEURONS, "neurons"), (weights, MOST_WEIGHTS, "weights")):
        if count > most:
            raise ValueError(f"{where} would have {count:.3g} {what}, more than {most}; make it smaller")


def _layer(entry: str, where: str, shape: Shape, bias: float, delays: Delays | None) -> tuple[nn.Module, Shape]:
    """One layer behind ``shape``, and the shape that it returns."""
    kind = re.fullmatch(r"(r?fc|apool|mpool)([1-9]\d*)|(conv)([1-9]\d*)c([1-9]\d*)(?:s([1-9]\d*))?|(flatten)", entry)
    if kind is None:
        raise ValueError(f"{where} is no layer; known are fcN, rfcN, convCcK, convCcKsS, apoolP, mpoolP and flatten")
    name = kind[1] or kind[3] or kind[7]
    if name in ("fc", "rfc"):
        return _dense(int(kind[2]), where, shape, bias, name == "rfc", delays)
    if name == "flatten":
        return Flatten(), (prod(shape),)
    if len(shape) != 3:
        raise ValueError(
            f"{where} needs an input of channels, rows and columns such as 2x34x34, but gets {shape[0]} neurons"
        )
    if name == "conv":
        return _conv(int(kind[4]), int(kind[5]), int(kind[6] or 1), where, shape, bias)
    size = int(kind[2])
    if size > min(shape[1:]):
        raise ValueError(f"{where} is larger than the {shape[1]}x{shape[2]} image that it gets; use a smaller window")
    return (AveragePool if name == "apool" else MaxPool)(size), (shape[0], shape[1] // size, shape[2] // size)


def _dense(
    neurons: int, where: str, shape: Shape, bias: float, recurrent: bool, delays: Delays | None
) -> tuple[SpikingLayer, Shape]:
    if len(shape) != 1:
        raise ValueError(f"{where} needs one axis, but gets {'x'.join(map(str, shape))}; put flatten before it")
    _check_size(where, neurons, neurons * (shape[0] + neurons * recurrent))
    return SpikingLayer(Dense(), (neurons, shape[0]), (neurons,), bias, recurrent, delays), (neurons,)


def _conv(channels: int, size: int, stride: int, where: str, shape: Shape, bias: float) -> tuple[SpikingLayer, Shape]:
    if size % 2 == 0:
        raise ValueError(f"{where} has an even kernel of {size}x{size}; use an odd size, which has a middle")
    if stride > min(shape[1:]):
        raise ValueError(f"{where} steps over the {shape[1]}x{shape[2]} image that it gets; use a smaller stride")
    out = (channels, *((length - 1) // stride + 1 for length in shape[1:]))
    _check_size(where, prod(out), channels * shape[0] * size**2)
    return SpikingLayer(Conv(stride), (channels, shape[0], size, size), out, bias), out
