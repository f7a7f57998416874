"""Which neuron hears which: the tables with which kernels run fully connected and convolutional layers.

Neurons lie in blocks of 64 lanes. A block of a convolutional layer is a patch: neighbouring positions of a row of the
image with all their channels, as many as fit. A row of the image lies in memory position by position, channels last, so
that what a spike adds to the row is one stretch of numbers, for the spike's weights lie in the same order: for each row
of the kernel, each channel below and each remainder of the column by the stride, the columns of the kernel from right
to left, each with all its channels. Beside both ends of the row is room for what falls outside of the image.

What a layer hears are cells: the neurons of the layer below, or windows of them when pooling stands between the two.
A cell's number is ``position * channels + channel``; to a fully connected layer the map is one position with a channel
for every input.

Shape suffixes beside those of the project: G = ⌈channels / 64⌉ groups of channels, each a block at every position (of a
fully connected layer: all blocks); R rows of weights; C cells. A layer that hears itself has a row for each of its own
neurons, behind those of its cells; what comes in there are its spikes of the step before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lanes import LANES, SQUARE

Shape = tuple[int, ...]
POINTS = 8
"""At so many points ``app.kernels.below`` takes the rows of kernels."""
KERNELS = (3, 5, 7)
"""Sizes of kernels for which it does; a larger one would leave less than two columns."""


class Plan(NamedTuple):
    """A spiking layer and the pooling in front of it.

    Args:
        pools: (whether it is maximum pooling, P) for every pooling layer since the spiking layer below.
        weight_shape: [N, M], or [C_out, C_in, K, K].
        stride: of a convolution.
        shape: of its neurons.
        loops: whether it hears its own spikes of the step before.
    """

    pools: tuple[tuple[bool, int], ...]
    weight_shape: Shape
    stride: int
    shape: Shape
    loops: bool = False

    @property
    def window(self) -> int:
        """How many rows and columns of neurons below one cell stands for."""
        return prod(size for _, size in self.pools)


LAYER = np.dtype(
    {
        "names": [
            *("convolves", "inputs", "neurons", "first_neuron", "rows", "groups", "blocks", "first_block"),
            *("weights", "biases", "routed", "weighted", "cells", "channels", "first_cell_of", "first_cell"),
            *("side", "first_under", "first_pool", "pools", "has_max", "map_rows", "map_columns", "image_rows"),
            *("image_columns", "patch", "patches", "kernel", "stride", "taps", "stretch", "pitch", "planes"),
            *("points", "first_point", "own_rows", "share"),
        ],
        "formats": [np.int64] * 36 + [np.float32],
    },
    align=True,
)
"""What kernels know of a layer.

    inputs, neurons, first_neuron   neurons of the layer below, its own, and of all layers before
    rows                            R of a fully connected layer
    groups, blocks, first_block     G, all its blocks, and the blocks of all layers before
    weights, biases                 where its weights start, [G, R, 64] or stretches, and its biases [G, 64]
    routed                          whether the spikes below have to be pooled or brought into order; else they are rows
    weighted                        whether they have other heights than 1
    cells, channels                 C, and how many cells there are at each position
    first_cell_of, first_cell, first_under       where its tables start
    side                            of a pooling window in front of it
    first_pool, pools, has_max      the pooling in front of it, and whether the winner alone gets the error of its cell
    map_rows, map_columns           of its cells
    image_rows, image_columns       of its neurons
    patch, patches                  positions of a block, and how many patches make up a row of the image
    kernel, stride, planes          K, S, and C_out (or N)
    taps, stretch                   ⌈K / S⌉ positions of a row hear a cell; the length of their weights
    pitch                           the length of a row of the image in memory
    points, first_point             how many numbers ``app.kernels.below`` needs, and where they begin
    own_rows                        rows of a layer that hears itself, behind those of its cells; or 0
    share                           what a neuron below gets of the error of its cell
"""


class Wiring(NamedTuple):
    """The tables, of all layers one behind the other; layer k hears layer k − 1, layer 0 the input.

    Args:
        layers: :data:`LAYER` of each.
        neuron_of: the number of the neuron in each lane of every block; −1 in a lane without one.
        present: the lanes with a neuron, a word for each block.
        cell_of: the cell that stands for each lane below (for each input); −1 for none.
        lands_at: where in a row of the image the stretch of each cell begins; of convolutional layers alone.
        stretch_of: where among the stretches of a row of the kernel that of each cell begins.
        under: the side² lanes below each cell.
        pool_is_max, pool_size: pooling, one after the other.
        quiet: the lanes to which errors go when nothing fires, by the blocks of the layer below.
    """

    layers: NDArray
    neuron_of: NDArray
    present: NDArray
    cell_of: NDArray
    lands_at: NDArray
    stretch_of: NDArray
    under: NDArray
    pool_is_max: NDArray
    pool_size: NDArray
    quiet: NDArray


class Geometry(NamedTuple):
    """One layer: what :class:`Wiring` holds of it, and how its weights come into the kernels' order.

    Args:
        plan: the layer.
        map_shape: (channels, rows, columns) of its cells.
    """

    plan: Plan
    map_shape: Shape

    @property
    def convolves(self) -> bool:
        """Whether it is a convolutional layer."""
        return len(self.plan.weight_shape) == 4

    @property
    def groups(self) -> int:
        """G."""
        return -(-self.plan.weight_shape[0] // LANES)

    @property
    def rows(self) -> int:
        """R of a fully connected layer."""
        return 0 if self.convolves else self.plan.weight_shape[1] + self.own_rows

    @property
    def own_rows(self) -> int:
        """How many of its rows are its own neurons."""
        return self.plan.weight_shape[0] if self.plan.loops else 0

    @property
    def patch(self) -> int:
        """Positions of a block."""
        return min(max(1, LANES // self.plan.weight_shape[0]), self.plan.shape[2]) if self.convolves else 1

    @property
    def patches(self) -> int:
        """How many patches make up a row of the image."""
        return -(-self.plan.shape[2] // self.patch) if self.convolves else 1

    @property
    def blocks(self) -> int:
        """All blocks of the layer."""
        return self.groups * self.patches * (self.plan.shape[1] if self.convolves else 1)

    @property
    def taps(self) -> int:
        """How many positions of a row hear a cell."""
        return -(-self.plan.weight_shape[3] // self.plan.stride) if self.convolves else 0

    @property
    def stretch(self) -> int:
        """The length of a stretch of weights, in whole vectors."""
        return -(-self.taps * self.plan.weight_shape[0] // SQUARE) * SQUARE

    @property
    def pitch(self) -> int:
        """The length of a row of the image in memory, with room for what falls outside."""
        channels = self.plan.weight_shape[0]
        return (self.taps - 1 + self.patches * self.patch) * channels + LANES + self.stretch if self.convolves else 0

    @property
    def size(self) -> int:
        """How many numbers the weights take."""
        if not self.convolves:
            return self.groups * self.rows * LANES
        kernel = self.plan.weight_shape[3]
        return -(-kernel * self.map_shape[0] * self.plan.stride * self.stretch // LANES) * LANES

    @property
    def points(self) -> int:
        """How many numbers ``app.kernels.below`` needs beside; 0 where it gains nothing."""
        if not (self.convolves and self.plan.stride == 1 and self.plan.weight_shape[3] in KERNELS):
            return 0
        return prod(self.plan.weight_shape[:3]) * POINTS

    def stretches(self, weight: NDArray) -> NDArray:
        """The weights [C_out, C_in, K, K] of a convolutional layer in the kernels' order."""
        packed = np.zeros(self.size, np.float32)
        for place, (left, dx) in self._places(packed):
            place[:, :, left : left + len(weight)] = weight[:, :, :, dx].transpose(2, 1, 0)
        return packed

    def from_stretches(self, gradient: NDArray) -> NDArray:
        """The gradient of the weights from that of :meth:`stretches`."""
        found = np.empty(self.plan.weight_shape, np.float32)
        for place, (left, dx) in self._places(gradient):
            found[:, :, :, dx] = place[:, :, left : left + len(found)].transpose(2, 1, 0)
        return found

    def _places(self, packed: NDArray) -> Iterator[tuple[NDArray, tuple[int, int]]]:
        """The stretches [K, C_in, length] that hold each column dx of the kernel, and where in them it begins."""
        channels, inputs, kernel, _ = self.plan.weight_shape
        shape = (kernel, inputs, self.plan.stride, self.stretch)
        whole = packed[: prod(shape)].reshape(shape)
        for dx in range(kernel):
            yield whole[:, :, dx % self.plan.stride], ((self.taps - 1 - dx // self.plan.stride) * channels, dx)

    def bias_lanes(self, bias: NDArray) -> NDArray:
        """The biases [C_out], or [N], as [G, 64]."""
        packed = np.zeros(self.groups * LANES, np.float32)
        for lane in self._lanes():
            packed[lane : lane + len(bias)] = bias
        return packed.reshape(self.groups, LANES)

    def bias_from_lanes(self, gradient: NDArray) -> NDArray:
        """The gradient of the biases from that of :meth:`bias_lanes`."""
        flat = gradient.reshape(-1)
        return np.sum([flat[lane : lane + self.plan.weight_shape[0]] for lane in self._lanes()], axis=0)

    def _lanes(self) -> range:
        """The first lane of each position of a patch."""
        channels = self.plan.weight_shape[0]
        return range(0, self.patch * channels, channels)

    def neuron_of(self) -> NDArray:
        """The neuron in each lane of the layer; −1 for none."""
        channels = self.plan.weight_shape[0]
        if not self.convolves:
            found = np.full(self.groups * LANES, -1, np.int32)
            found[:channels] = np.arange(channels)
            return found
        found = np.full((self.plan.shape[1], self.patches, self.groups * LANES), -1, np.int32)
        numbers = np.arange(prod(self.plan.shape), dtype=np.int32).reshape(self.plan.shape)
        for n, lane in enumerate(self._lanes()):
            here = numbers[:, :, n :: self.patch].transpose(1, 2, 0)
            found[:, : here.shape[1], lane : lane + channels] = here
        return found.reshape(-1)

    def landing(self) -> tuple[NDArray, NDArray]:
        """Of every cell of a convolutional layer: where its stretch begins in the image's row and among the weights."""
        if not self.convolves:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        (channels, height, width), stride = self.map_shape, self.plan.stride
        _, x, c = np.indices((height, width, channels)).reshape(3, -1)
        x = x + self.plan.weight_shape[3] // 2
        return x // stride * self.plan.weight_shape[0], (c * stride + x % stride) * self.stretch

    def lanes_of(self) -> NDArray | None:
        """The lane of each neuron; None where neuron n is lane n."""
        return _lanes_of(self.neuron_of()) if self.convolves else None

    def cell_of(self, below: Shape) -> NDArray:
        """The cell of each neuron of the layer below, or of each input; −1 for none."""
        channels, height, width = self.map_shape
        c, y, x = np.indices(below).reshape(3, -1)
        y, x = y // self.plan.window, x // self.plan.window
        inside = (y < height) & (x < width)
        cells = (y * width + x) * channels + c if self.convolves else (c * height + y) * width + x
        return np.where(inside, cells, -1).astype(np.int32)

    def quiet(self, below: Shape) -> NDArray:
        """Whether each neuron below gets the error of its cell when none of them fires: always the first one."""
        _, y, x = np.indices(below).reshape(3, -1)
        found = self.cell_of(below) >= 0
        for is_max, size in self.plan.pools:
            if is_max:
                found &= (y % size == 0) & (x % size == 0)
            y, x = y // size, x // size
        return found

    def under(self, below: Shape) -> NDArray:
        """The neurons below each cell, row by row, [C · window²]."""
        cell_of = self.cell_of(below)
        inside = np.flatnonzero(cell_of >= 0)
        return inside[np.argsort(cell_of[inside], kind="stable")]


def geometry(plan: Plan, below: Shape) -> Geometry:
    """How a layer lies in lanes, behind neurons of shape ``below`` = (channels, rows, columns)."""
    return Geometry(plan, (below[0], below[1] // plan.window, below[2] // plan.window))


@cache
def wire(inputs: Shape, plans: tuple[Plan, ...]) -> tuple[list[Geometry], Wiring]:
    """The geometry of all layers and their tables.

    Args:
        inputs: the shape of the input.
        plans: all spiking layers.
    """
    shapes, layers = [_as_map(inputs)], []
    for plan in plans:
        layers.append(geometry(plan, shapes[-1]))
        shapes.append(_as_map(plan.shape))
    neurons = [layer.neuron_of() for layer in layers]
    lanes_below = [np.arange(prod(inputs)), *neurons[:-1]]
    below = list(zip(layers, shapes, lanes_below, strict=False))
    cells = [_in_lanes(layer.cell_of(shape), lanes, -1) for layer, shape, lanes in below]
    quiet = [_words(_in_lanes(layer.quiet(shape), lanes, False)) for layer, shape, lanes in below[1:]]
    under = [_lanes_of(lanes)[layer.under(shape)] for layer, shape, lanes in below]
    landings = [layer.landing() for layer in layers]
    pools = [pool for plan in plans for pool in plan.pools]
    records, behind_images = np.zeros(len(plans), LAYER), False
    for k, layer in enumerate(layers):
        records[k] = _record(layer, prod(shapes[k]), behind_images)
        behind_images = layer.convolves
    for name, counts in (
        ("first_neuron", records["neurons"]),
        ("first_block", records["blocks"]),
        ("weights", [layer.size for layer in layers]),
        ("biases", records["groups"]),
        ("first_point", records["points"]),
        ("first_cell_of", [len(table) for table in cells]),
        ("first_cell", [len(table) for table, _ in landings]),
        ("first_under", [len(table) for table in under]),
        ("first_pool", records["pools"]),
    ):
        records[name] = np.cumsum([0, *counts])[:-1]
    wiring = Wiring(
        layers=records,
        neuron_of=np.concatenate(neurons),
        present=_words(np.concatenate(neurons) >= 0),
        cell_of=np.concatenate(cells).astype(np.int32),
        lands_at=np.concatenate([lands for lands, _ in landings]).astype(np.int32),
        stretch_of=np.concatenate([stretch for _, stretch in landings]).astype(np.int32),
        under=np.concatenate(under).astype(np.int32),
        pool_is_max=np.array([is_max for is_max, _ in pools], np.bool_),
        pool_size=np.array([size for _, size in pools], np.int64),
        quiet=np.concatenate([*quiet, np.zeros(0, np.uint64)]),
    )
    return layers, wiring


def _record(layer: Geometry, inputs: int, behind_images: bool) -> NDArray:
    """A layer's :data:`LAYER`, but for what depends on the layers before."""
    plan, record = layer.plan, np.zeros((), LAYER)
    map_rows, map_columns = layer.map_shape[1:] if layer.convolves else (1, 1)
    known = {
        "convolves": layer.convolves,
        "inputs": inputs,
        "neurons": prod(plan.shape),
        "rows": layer.rows,
        "groups": layer.groups,
        "blocks": layer.blocks,
        "routed": layer.convolves or bool(plan.pools) or behind_images,
        "weighted": any(not is_max for is_max, _ in plan.pools),
        "cells": prod(layer.map_shape),
        "channels": prod(layer.map_shape) // (map_rows * map_columns),
        "map_rows": map_rows,
        "map_columns": map_columns,
        "side": plan.window,
        "pools": len(plan.pools),
        "has_max": any(is_max for is_max, _ in plan.pools),
        "patch": layer.patch,
        "patches": layer.patches,
        "taps": layer.taps,
        "stretch": layer.stretch,
        "pitch": layer.pitch,
        "points": layer.points,
        "kernel": plan.weight_shape[3] if layer.convolves else 1,
        "stride": plan.stride,
        "planes": plan.weight_shape[0],
        "own_rows": layer.own_rows,
        "share": prod(size**-2.0 for is_max, size in plan.pools if not is_max),
    }
    known |= dict(zip(("image_rows", "image_columns"), _as_map(plan.shape)[1:], strict=True))
    for name, value in known.items():
        record[name] = value
    return record


def _as_map(shape: Shape) -> Shape:
    return shape if len(shape) == 3 else (*shape, 1, 1)


def _in_lanes(values: NDArray, neuron_of: NDArray, nothing: Any) -> NDArray:
    """Values of neurons as values of lanes."""
    return np.where(neuron_of >= 0, values[neuron_of], nothing)


def _lanes_of(neuron_of: NDArray) -> NDArray:
    """The lane of each neuron."""
    lanes = np.flatnonzero(neuron_of >= 0)
    return lanes[np.argsort(neuron_of[lanes])]


def _words(lanes: NDArray) -> NDArray:
    """Sets of lanes as words."""
    whole = np.zeros(-(-len(lanes) // LANES) * LANES, np.bool_)
    whole[: len(lanes)] = lanes
    return np.packbits(whole, bitorder="little").view("<u8").astype(np.uint64)
