"""From an image to the map below: the product of a row's errors with the weights of a convolution.

With S = 1 most of the products can be saved: several neighbouring columns of the map and of the kernel are polynomials,
their convolution is a product, and a product of polynomials is one of their values at as many points as it has
coefficients (Toom 1963, Cook 1966; Winograd, Arithmetic Complexity of Computations, 1980, for convolution). Of 8 points
(:data:`VALUES` and ∞) one needs 8 products where 9 − K columns of the map need (9 − K) · K: for K = 5, 20. By the
transposition principle the same holds for what is computed here, Σ_j w_j e_{x+j}, with weights and results transformed
in place of both factors. The errors are transformed once for all rows of the kernel and all channels below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .above import add_rows, panel
from .compile import kernel
from .images import place
from .lanes import LANES, load, spread, store
from .wiring import POINTS

VALUES = (0, 1, -1, 2, -2, 0.5, -0.5)
"""Small numbers, in pairs: what is added there loses few digits."""
SCALES = (1, -2 / 9, -2 / 9, 1 / 90, 1 / 90, 32 / 45, 32 / 45)
"""1 / Π (own value − another value) over all others, up to the factors that :func:`_to_points` has."""


def at_points(weight: NDArray) -> NDArray:
    """The rows of kernels [C_out, C_in, K, K], from right to left, at all points: [K, POINTS, C_in, C_out]."""
    kernel_size = weight.shape[3]
    powers = np.zeros((POINTS, kernel_size))
    powers[:-1] = np.array(SCALES)[:, None] * np.array(VALUES)[:, None] ** np.arange(kernel_size)
    powers[-1, -1] = 1
    return np.einsum("pj,nmyj->ypmn", powers, weight[:, :, :, ::-1]).astype(np.float32)


@kernel(forceinline=True)
def _to_points(panels_WT, lanes_P, points_NT, to, step):
    """Eight columns of one channel at all points, each ``step`` behind the one before."""
    d0, d1 = load(panels_WT, lanes_P[0] * LANES), load(panels_WT, lanes_P[1] * LANES)
    d2, d3 = load(panels_WT, lanes_P[2] * LANES), load(panels_WT, lanes_P[3] * LANES)
    d4, d5 = load(panels_WT, lanes_P[4] * LANES), load(panels_WT, lanes_P[5] * LANES)
    d6, d7 = load(panels_WT, lanes_P[6] * LANES), load(panels_WT, lanes_P[7] * LANES)
    f = np.float32
    store(points_NT, to, (d0 - d6) + (d4 - d2) * f(5.25))
    store(points_NT, to + 7 * step, (d7 - d1) + (d3 - d5) * f(5.25))
    even, odd = d2 + d6 - d4 * f(4.25), d1 + d5 - d3 * f(4.25)
    store(points_NT, to + step, even + odd)
    store(points_NT, to + 2 * step, even - odd)
    even, odd = d6 + d2 * f(0.25) - d4 * f(1.25), d1 * f(0.5) - d3 * f(2.5) + d5 * f(2)
    store(points_NT, to + 3 * step, even + odd)
    store(points_NT, to + 4 * step, even - odd)
    even, odd = d6 + d2 * f(4) - d4 * f(5), d1 * f(2) - d3 * f(2.5) + d5 * f(0.5)
    store(points_NT, to + 5 * step, even + odd)
    store(points_NT, to + 6 * step, even - odd)


@kernel()
def _from_points(products_PCT, channels, columns, whole, map_CU, at, width):
    """Add what the products at all points say of some columns of the map, of which a tile has ``whole``."""
    step = channels * LANES
    for c in range(channels):
        own = c * LANES
        one, other = load(products_PCT, own + step), load(products_PCT, own + 2 * step)
        even_1, odd_1 = one + other, one - other
        one, other = load(products_PCT, own + 3 * step), load(products_PCT, own + 4 * step)
        even_2, odd_2 = one + other, one - other
        one, other = load(products_PCT, own + 5 * step), load(products_PCT, own + 6 * step)
        even_3, odd_3 = one + other, one - other
        power = np.float32(1)
        for i in range(columns):
            to = at + (i * channels + c) * width
            if i % 2 == 0:
                found = even_1 + even_2 * power + even_3 * (np.float32(1) / power)
            else:
                found = odd_1 + odd_2 * power + odd_3 * (np.float32(1) / power)
            if i == 0:
                found = found + load(products_PCT, own)
            if i == whole - 1:
                found = found + load(products_PCT, own + 7 * step)
            store(map_CU, to, load(map_CU, to) + found)
            power *= np.float32(2)


@kernel()
def _busy_lanes(busy_W, columns, planes, firsts_X1, lanes_N, planes_N):
    """The lanes that are not all 0, column by column, and the channels that they are."""
    number = 0
    for x in range(columns):
        firsts_X1[x] = number
        for n in range(planes):
            lane = x * planes + n
            if (busy_W[lane // LANES] >> np.uint64(lane % LANES)) & np.uint64(1):
                lanes_N[number], planes_N[number] = lane, n
                number += 1
    firsts_X1[columns] = number


@kernel(allocates=True)
def push(errors_TW, live, row, stack, k, points_W, panels_WT, map_CU):
    """Add what a row of the image of the convolutional layer k contributes to δS of the cells below.

    Args:
        errors_TW: β_I δI of the row.
        points_W: :func:`at_points` of the weights of all layers for which it pays.
        panels_WT: room for 64 steps of the row.
    """
    layer, width, target, weights = stack.wiring.layers[k], map_CU.shape[1], map_CU.reshape(-1), stack.weights
    channels, planes, columns, size = layer.channels, layer.planes, layer.image_columns, layer.kernel
    stride, pad, top = layer.stride, layer.kernel // 2, row * layer.stride - layer.kernel // 2
    has_points = layer.points > 0
    tile, left = POINTS + 1 - size if has_points else 1, place(layer, 0, 0)
    busy_W = np.empty((columns * planes + LANES - 1) // LANES, np.uint64)
    firsts_X1, lanes_N = np.empty(columns + 1, np.int64), np.empty(columns * planes, np.int64)
    planes_N, any_N, number_N = np.empty(columns * planes, np.int64), np.empty(planes, np.int64), np.arange(8 * planes)
    points_NT = np.empty(POINTS * planes * LANES if has_points else 0, np.float32)
    products_PCT = np.empty(POINTS * channels * LANES if has_points else 0, np.float32)
    lanes_P, nothing = np.empty(POINTS, np.int64), len(busy_W) * LANES
    store(panels_WT, nothing * LANES, spread(np.float32(0)))
    first_row, last_row = max(0, -top), min(size, layer.map_rows - top)
    for t in range(0, live, LANES):
        for i in range(len(busy_W)):
            at = t * layer.pitch + left + i * LANES
            busy_W[i] = panel(errors_TW, at, layer.pitch, panels_WT, i * LANES * LANES)
        _busy_lanes(busy_W, columns, planes, firsts_X1, lanes_N, planes_N)
        if firsts_X1[columns] == 0:
            continue
        for x0 in range(0, layer.map_columns, tile):
            x1, number, pairs = min(x0 + tile, layer.map_columns), 0, 0
            if has_points:
                for x in range(x0, x1):
                    pairs += firsts_X1[min(columns, x + pad + 1)] - firsts_X1[max(0, x - pad)]
                number = _lanes_of_tile(busy_W, columns, planes, x0 - pad, any_N)
            if number * POINTS < pairs:
                for n in range(number):
                    for i in range(POINTS):
                        x = x0 - pad + i
                        lanes_P[i] = x * planes + any_N[n] if 0 <= x < columns else nothing
                    _to_points(panels_WT, lanes_P, points_NT, n * LANES, number * LANES)
                for dy in range(first_row, last_row):
                    products_PCT[:] = 0
                    for i in range(POINTS):
                        add_rows(
                            channels,
                            products_PCT,
                            i * channels * LANES,
                            LANES,
                            points_NT,
                            number_N[i * number : (i + 1) * number],
                            number,
                            points_W,
                            any_N,
                            layer.first_point + (dy * POINTS + i) * channels * planes,
                            planes,
                        )
                    at = ((top + dy) * layer.map_columns + x0) * channels * width + t
                    _from_points(products_PCT, channels, x1 - x0, tile, target, at, width)
                continue
            for x in range(x0, x1):
                for dx in range((x + pad) % stride, size, stride):
                    column = (x + pad - dx) // stride
                    if column < 0 or column >= columns or firsts_X1[column] == firsts_X1[column + 1]:
                        continue
                    own = slice(firsts_X1[column], firsts_X1[column + 1])
                    tap = layer.taps - 1 - dx // stride
                    for dy in range(first_row, last_row):
                        add_rows(
                            channels,
                            target,
                            ((top + dy) * layer.map_columns + x) * channels * width + t,
                            width,
                            panels_WT,
                            lanes_N[own],
                            firsts_X1[column + 1] - firsts_X1[column],
                            weights,
                            planes_N[own],
                            layer.weights + (dy * channels * stride + dx % stride) * layer.stretch + tap * planes,
                            stride * layer.stretch,
                        )


@kernel()
def _lanes_of_tile(busy_W, columns, planes, first, any_N):
    """The channels that are not all 0 in the POINTS columns from ``first`` on; returns how many there are."""
    number = 0
    for n in range(planes):
        for x in range(max(0, first), min(columns, first + POINTS)):
            lane = x * planes + n
            if (busy_W[lane // LANES] >> np.uint64(lane % LANES)) & np.uint64(1):
                any_N[number] = n
                number += 1
                break
    return number
