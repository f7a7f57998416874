"""Which neuron hears which: the tables with which one set of kernels runs fully connected and convolutional layers.

A spiking layer consists of fields. The neurons of a field hear the same inputs, its rows, through the same weights as
those of any other field. A fully connected layer is one field; in a convolutional layer a field is a patch of
neighbouring positions with all their channels, as many as fit into 64 lanes. Its rows are the window that the patch
sees, and a lane's weights are 0 where the lane sees less.

What a layer hears are cells: the neurons of the layer below, or windows of them when pooling stands between the two.
A cell's number is ``position * channels + channel``; to a fully connected layer the map is one position with a channel
for every input.

Shape suffixes beside those of the project: F fields of a layer; G = ⌈channels / 64⌉ groups of channels, each a block of
lanes in every field; R rows; C cells. A layer that hears itself has a row for each of its own neurons, behind those of
its cells; what comes in there are its spikes of the step before.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lanes import LANES

Shape = tuple[int, ...]


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
            *("inputs", "neurons", "first_neuron", "rows", "fields", "groups", "blocks", "first_block"),
            *("weights", "biases", "routed", "weighted", "cells", "channels", "first_cell_of", "first_reach"),
            *("side", "first_under", "first_pool", "pools", "has_max", "map_rows", "map_columns", "image_rows"),
            *("image_columns", "patch_rows", "patch_columns", "window_columns", "kernel", "stride", "planes"),
            *("own_rows", "share"),
        ],
        "formats": [np.int64] * 32 + [np.float32],
    },
    align=True,
)
"""What kernels know of a layer.

    inputs, neurons, first_neuron   neurons of the layer below, its own, and of all layers before
    rows, fields, groups            R, F, G
    blocks, first_block             F·G, and the blocks of all layers before
    weights, biases                 where its weights [G, R, 64] start, and its biases [G, 64]
    routed                          whether the spikes below have to be brought to fields or pooled; else they are rows
    weighted                        whether they have other heights than 1
    cells, channels                 C, and how many cells there are at each position
    first_cell_of, first_reach, first_under      where its tables start
    side                            of a pooling window in front of it
    first_pool, pools, has_max      the pooling in front of it, and whether the winner alone gets the error of its cell
    map_rows, map_columns           of its cells
    image_rows, image_columns       of its neurons
    patch_rows, patch_columns       positions of a field
    window_columns                  of a field's window of weights
    kernel, stride, planes          K, S, and C_out (or N)
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
        reach_first, reach_field, reach_row: the fields that see a position, and the row of its channel 0.
        under: the side² lanes below each cell.
        pool_is_max, pool_size: pooling, one after the other.
        quiet: the lanes to which errors go when nothing fires, by the blocks of the layer below.
    """

    layers: NDArray
    neuron_of: NDArray
    present: NDArray
    cell_of: NDArray
    reach_first: NDArray
    reach_field: NDArray
    reach_row: NDArray
    under: NDArray
    pool_is_max: NDArray
    pool_size: NDArray
    quiet: NDArray


def patch(channels: int, height: int, width: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows and columns of a field: few fields first, then few rows of weights."""
    most = max(1, LANES // channels)
    shapes = [(rows, most // rows) for rows in range(1, most + 1)]

    def cost(shape: tuple[int, int]) -> tuple[int, int]:
        rows, columns = shape
        window = ((rows - 1) * stride + kernel) * ((columns - 1) * stride + kernel)
        return -(-height // rows) * -(-width // columns), window

    return min(shapes, key=cost)


class Geometry(NamedTuple):
    """One layer: what :class:`Wiring` holds of it, and how its weights come into lanes.

    Args:
        plan: the layer.
        map_shape: (channels, rows, columns) of its cells.
        patch: rows and columns of a field.
        window: rows and columns of weights of a field.
        fields: rows and columns of fields.
    """

    plan: Plan
    map_shape: Shape
    patch: tuple[int, int]
    window: tuple[int, int]
    fields: tuple[int, int]

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
        """R."""
        if self.convolves:
            return prod(self.window) * self.map_shape[0]
        return self.plan.weight_shape[1] + self.own_rows

    @property
    def own_rows(self) -> int:
        """How many of its rows are its own neurons."""
        return self.plan.weight_shape[0] if self.plan.loops else 0

    @property
    def positions(self) -> list[tuple[int, int]]:
        """Row and column of each position of a field."""
        return [(j, i) for j in range(self.patch[0]) for i in range(self.patch[1])]

    def lanes(self, weight: NDArray) -> NDArray:
        """The weights [C_out, C_in, K, K] of a convolutional layer as [G, R, 64]."""
        channels, inputs, kernel, _ = weight.shape
        packed = np.zeros((*self.window, inputs, self.groups * LANES), np.float32)
        turned = weight.transpose(2, 3, 1, 0)
        for (top, left), lane in self._places():
            packed[top : top + kernel, left : left + kernel, :, lane : lane + channels] = turned
        return packed.reshape(self.rows, self.groups, LANES).transpose(1, 0, 2)

    def from_lanes(self, gradient: NDArray) -> NDArray:
        """The gradient of the weights from that of :meth:`lanes`."""
        channels, inputs, kernel, _ = self.plan.weight_shape
        packed = gradient.transpose(1, 0, 2).reshape(*self.window, inputs, self.groups * LANES)
        parts = [
            packed[top : top + kernel, left : left + kernel, :, lane : lane + channels]
            for (top, left), lane in self._places()
        ]
        return np.ascontiguousarray(np.sum(parts, axis=0).transpose(3, 2, 0, 1))

    def bias_lanes(self, bias: NDArray) -> NDArray:
        """The biases [C_out], or [N], as [G, 64]."""
        packed = np.zeros(self.groups * LANES, np.float32)
        for _, lane in self._places():
            packed[lane : lane + len(bias)] = bias
        return packed.reshape(self.groups, LANES)

    def bias_from_lanes(self, gradient: NDArray) -> NDArray:
        """The gradient of the biases from that of :meth:`bias_lanes`."""
        flat = gradient.reshape(-1)
        return np.sum([flat[lane : lane + self.plan.weight_shape[0]] for _, lane in self._places()], axis=0)

    def _places(self) -> list[tuple[tuple[int, int], int]]:
        """Where the window of each position starts, and its first lane."""
        stride, channels = self.plan.stride, self.plan.weight_shape[0]
        return [((j * stride, i * stride), n * channels) for n, (j, i) in enumerate(self.positions)]

    def neuron_of(self) -> NDArray:
        """The neuron in each lane of the layer, [F·G·64]; −1 for none."""
        channels = self.plan.weight_shape[0]
        found = np.full((*self.fields, self.groups * LANES), -1, np.int32)
        if not self.convolves:
            found[0, 0, :channels] = np.arange(channels)
            return found.reshape(-1)
        numbers = np.arange(prod(self.plan.shape), dtype=np.int32).reshape(self.plan.shape)
        for n, (j, i) in enumerate(self.positions):
            here = numbers[:, j :: self.patch[0], i :: self.patch[1]].transpose(1, 2, 0)
            lane = n * channels
            found[: here.shape[0], : here.shape[1], lane : lane + channels] = here
        return found.reshape(-1)

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

    def reach(self) -> list[list[tuple[int, int]]]:
        """(field, row of channel 0) of all fields that see each position of the map."""
        if not self.convolves:
            return [[(0, 0)]]
        channels, height, width = self.map_shape
        pad, kernel, stride = self.plan.weight_shape[3] // 2, self.plan.weight_shape[3], self.plan.stride

        def along(length: int, axis: int) -> list[list[tuple[int, int]]]:
            step = self.patch[axis] * stride
            places = [[(f, at + pad - f * step) for f in range(self.fields[axis])] for at in range(length)]
            return [[(f, r) for f, r in place if self._sees(f, r, axis, kernel, stride)] for place in places]

        rows, columns = along(height, 0), along(width, 1)
        return [
            [(j * self.fields[1] + i, (r * self.window[1] + s) * channels) for j, r in rows[y] for i, s in columns[x]]
            for y in range(height)
            for x in range(width)
        ]

    def _sees(self, field: int, row: int, axis: int, kernel: int, stride: int) -> bool:
        """Whether a neuron of the field, one that exists, sees a row (or column) of the field's window."""
        length, size = self.plan.shape[1 + axis], self.patch[axis]
        here = range(min(size, length - field * size))
        return any(0 <= row - j * stride < kernel for j in here)


def geometry(plan: Plan, below: Shape) -> Geometry:
    """How a layer lies in lanes, behind neurons of shape ``below`` = (channels, rows, columns)."""
    map_shape = (below[0], below[1] // plan.window, below[2] // plan.window)
    if len(plan.weight_shape) == 2:
        return Geometry(plan, map_shape, (1, 1), (1, 1), (1, 1))
    channels, height, width = plan.shape
    kernel, stride = plan.weight_shape[3], plan.stride
    size = patch(channels, height, width, kernel, stride)
    window = ((size[0] - 1) * stride + kernel, (size[1] - 1) * stride + kernel)
    return Geometry(plan, map_shape, size, window, (-(-height // size[0]), -(-width // size[1])))


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
    reach = [layer.reach() for layer in layers]
    targets = np.array([target for of_layer in reach for place in of_layer for target in place], np.int32)
    pools = [pool for plan in plans for pool in plan.pools]
    records, behind_images = np.zeros(len(plans), LAYER), False
    for k, layer in enumerate(layers):
        positions = prod(layer.map_shape[1:]) if layer.convolves else 1
        records[k] = _record(layer, prod(shapes[k]), positions, behind_images)
        behind_images = layer.convolves
    for name, counts in (
        ("first_neuron", records["neurons"]),
        ("first_block", records["blocks"]),
        ("weights", records["groups"] * records["rows"] * LANES),
        ("biases", records["groups"]),
        ("first_cell_of", [len(table) for table in cells]),
        ("first_reach", [len(of_layer) + 1 for of_layer in reach]),
        ("first_under", [len(table) for table in under]),
        ("first_pool", records["pools"]),
    ):
        records[name] = np.cumsum([0, *counts])[:-1]
    wiring = Wiring(
        layers=records,
        neuron_of=np.concatenate(neurons),
        present=_words(np.concatenate(neurons) >= 0),
        cell_of=np.concatenate(cells).astype(np.int32),
        reach_first=_firsts([[len(place) for place in of_layer] for of_layer in reach]),
        reach_field=np.ascontiguousarray(targets[:, 0]),
        reach_row=np.ascontiguousarray(targets[:, 1]),
        under=np.concatenate(under).astype(np.int32),
        pool_is_max=np.array([is_max for is_max, _ in pools], np.bool_),
        pool_size=np.array([size for _, size in pools], np.int64),
        quiet=np.concatenate([*quiet, np.zeros(0, np.uint64)]),
    )
    return layers, wiring


def _record(layer: Geometry, inputs: int, positions: int, behind_images: bool) -> NDArray:
    """A layer's :data:`LAYER`, but for what depends on the layers before."""
    plan, record = layer.plan, np.zeros((), LAYER)
    known = {
        "inputs": inputs,
        "neurons": prod(plan.shape),
        "rows": layer.rows,
        "fields": prod(layer.fields),
        "groups": layer.groups,
        "blocks": prod(layer.fields) * layer.groups,
        "routed": layer.convolves or bool(plan.pools) or behind_images,
        "weighted": any(not is_max for is_max, _ in plan.pools),
        "cells": prod(layer.map_shape),
        "channels": prod(layer.map_shape) // positions,
        "side": plan.window,
        "pools": len(plan.pools),
        "has_max": any(is_max for is_max, _ in plan.pools),
        "window_columns": layer.window[1],
        "kernel": plan.weight_shape[3] if layer.convolves else 1,
        "stride": plan.stride,
        "planes": plan.weight_shape[0],
        "own_rows": layer.own_rows,
        "share": prod(size**-2.0 for is_max, size in plan.pools if not is_max),
    }
    known |= dict(zip(("map_rows", "map_columns"), layer.map_shape[1:], strict=True))
    known |= dict(zip(("image_rows", "image_columns"), _as_map(plan.shape)[1:], strict=True))
    known |= dict(zip(("patch_rows", "patch_columns"), layer.patch, strict=True))
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


def _firsts(counts: list[list[int]]) -> NDArray:
    """Where the targets of each position start among those of all layers, with their end behind each layer."""
    found, total = [], 0
    for of_layer in counts:
        found.append(total + np.cumsum([0, *of_layer]))
        total += sum(of_layer)
    return np.concatenate(found)
