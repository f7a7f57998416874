"""Rows of images: what the cells that a row hears add to it, and what comes back from the row to their weights.

A row of the image is [T, W]: for every step all its positions, channels last (``app.kernels.wiring``). The row's
blocks begin at :func:`place`.
"""

from __future__ import annotations

import numpy as np

from .compile import kernel
from .lanes import LANES, SQUARE, add_stretch, clear_row, dot_stretch, spread, store


@kernel(forceinline=True)
def place(layer, patch, group):
    """Where in a row of the image a block's lanes begin; what falls outside of the image on the left is before."""
    return ((layer.taps - 1) + patch * layer.patch) * layer.planes + group * LANES


@kernel(forceinline=True)
def _heard(layer, row):
    """The rows of the map that a row of the image hears."""
    top = row * layer.stride - layer.kernel // 2
    return max(0, top), min(layer.map_rows, top + layer.kernel)


@kernel(forceinline=True)
def _weights(layer, row, y):
    """Where the stretches begin through which a row of the image hears row y of the map."""
    return (y + layer.kernel // 2 - row * layer.stride) * layer.channels * layer.stride * layer.stretch


@kernel()
def add_drives(cells, stack, k, row, drives_TW):
    """Add Σ weight · height over all cells that a row of layer k's image hears, to zeros."""
    firsts_Y1, cells_E, steps_E, heights_E = cells
    layer, lands_at, stretch_of = stack.wiring.layers[k], stack.wiring.lands_at, stack.wiring.stretch_of
    weights, stretch, pitch, table = stack.weights, layer.stretch, layer.pitch, layer.first_cell
    first, last = _heard(layer, row)
    for y in range(first, last):
        start = layer.weights + _weights(layer, row, y)
        for e in range(firsts_Y1[y], firsts_Y1[y + 1]):
            cell, height = table + cells_E[e], heights_E[e] if len(heights_E) else np.float32(1)
            at = steps_E[e] * pitch + lands_at[cell]
            add_stretch(drives_TW, at, weights, start + stretch_of[cell], stretch, height)


@kernel()
def clear_drives(cells, wiring, k, row, steps, drives_TW):
    """Set to 0 what :func:`add_drives` has filled in, spike by spike where these are few."""
    firsts_Y1, cells_E, steps_E, _ = cells
    layer, lands_at = wiring.layers[k], wiring.lands_at
    stretch, pitch, table = layer.stretch, layer.pitch, layer.first_cell
    first, last = _heard(layer, row)
    if (firsts_Y1[last] - firsts_Y1[first]) * 2 * stretch > steps * pitch:
        drives_TW[: steps * pitch] = 0
        return
    for e in range(firsts_Y1[first], firsts_Y1[last]):
        at = steps_E[e] * pitch + lands_at[table + cells_E[e]]
        for i in range(0, stretch, SQUARE):
            clear_row(drives_TW, at + i)


@kernel()
def add_gradients(cells, wiring, k, row, errors_TW, gradient):
    """Add the error of the drives of a row of layer k's image to the gradients of the weights behind them.

    Args:
        errors_TW: 0 outside of the image.
        gradient: of all weights; what belongs to no position at the end of a stretch gets something, too.
    """
    firsts_Y1, cells_E, steps_E, heights_E = cells
    layer, lands_at, stretch_of = wiring.layers[k], wiring.lands_at, wiring.stretch_of
    stretch, pitch, table = layer.stretch, layer.pitch, layer.first_cell
    first, last = _heard(layer, row)
    for y in range(first, last):
        start = layer.weights + _weights(layer, row, y)
        for e in range(firsts_Y1[y], firsts_Y1[y + 1]):
            cell, height = table + cells_E[e], heights_E[e] if len(heights_E) else np.float32(1)
            at = steps_E[e] * pitch + lands_at[cell]
            add_stretch(gradient, start + stretch_of[cell], errors_TW, at, stretch, height)


@kernel()
def add_times(cells, stack, k, row, shifts_TW, moved_E):
    """Add what a row of layer k's image contributes to the error of moving a unit spike, for all cells that it hears.

    Args:
        shifts_TW: 0 outside of the image.
    """
    firsts_Y1, cells_E, steps_E, _ = cells
    layer, lands_at, stretch_of = stack.wiring.layers[k], stack.wiring.lands_at, stack.wiring.stretch_of
    weights, stretch, pitch, table = stack.weights, layer.stretch, layer.pitch, layer.first_cell
    first, last = _heard(layer, row)
    for y in range(first, last):
        start = layer.weights + _weights(layer, row, y)
        for e in range(firsts_Y1[y], firsts_Y1[y + 1]):
            cell = table + cells_E[e]
            at = steps_E[e] * pitch + lands_at[cell]
            moved_E[e] += dot_stretch(shifts_TW, at, weights, start + stretch_of[cell], stretch)


@kernel()
def clear_patch(values_TW, steps, pitch, own):
    """Set a patch to 0, in every step of a row of the image."""
    for t in range(steps):
        store(values_TW, own + t * pitch, spread(np.float32(0)))
