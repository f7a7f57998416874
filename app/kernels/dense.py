"""The steps of a block of 64 neurons that the kernels forward and backward share.

Weights are read and weight gradients added only where a spike is, or, in tiles of steps where half of all inputs fire,
for all inputs and four steps at once. A neuron's own sums run in a fixed order, whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from .compile import kernel
from .lanes import LANES, choose, fetch, fused, load, lowest, spread, store
from .layout import TILE


@kernel(forceinline=True)
def store_tile(tile_4L, first, second, third, fourth):
    """Write the lanes of TILE steps."""
    store(tile_4L, 0, first)
    store(tile_4L, LANES, second)
    store(tile_4L, 2 * LANES, third)
    store(tile_4L, 3 * LANES, fourth)


@kernel(forceinline=True)
def drive_of(begin, end, rows_E, heights_E, weights, block):
    """Σ_i w_i over the inputs that fire in this step; ``block`` is where the block's weights start."""
    drive = spread(np.float32(0))
    if len(heights_E):
        for e in range(begin, end):
            drive = fused(load(weights, block + fetch(rows_E, e) * LANES), fetch(heights_E, e), drive)
    else:
        for e in range(begin, end):
            drive = drive + load(weights, block + fetch(rows_E, e) * LANES)
    return drive


@kernel(forceinline=True)
def crowded_tile(t, last, starts_T1, inputs):
    """Whether the tile of steps from t on holds so many spikes that a walk through all inputs is faster (measured)."""
    return starts_T1[min(t + TILE, last)] - starts_T1[t] > TILE // 2 * inputs


@kernel()
def spread_out(t, last, starts_T1, rows_E, heights_E, spikes_R4):
    """The spikes of the tile of steps from t on, as zeros and ones, or heights."""
    spikes_R4[:] = 0
    for step in range(t, min(t + TILE, last)):
        for e in range(starts_T1[step], starts_T1[step + 1]):
            spikes_R4[rows_E[e] * TILE + step - t] = heights_E[e] if len(heights_E) else np.float32(1)


@kernel()
def drive_tile(spikes_R4, weights, block, drives_4L):
    """What ``drive_of`` computes, for TILE steps at once; the same bits, for a product with 0 or 1 is exact."""
    first = spread(np.float32(0))
    second, third, fourth = first, first, first
    for i in range(len(spikes_R4) // TILE):
        row = load(weights, block + i * LANES)
        first = fused(row, fetch(spikes_R4, i * TILE), first)
        second = fused(row, fetch(spikes_R4, i * TILE + 1), second)
        third = fused(row, fetch(spikes_R4, i * TILE + 2), third)
        fourth = fused(row, fetch(spikes_R4, i * TILE + 3), fourth)
    store_tile(drives_4L, first, second, third, fourth)


@kernel()
def gradient_tile(spikes_R4, errors_4L, gradient_RL, own):
    """The gradients of a block's weights, which start at ``own``, from TILE steps at once, the last step first."""
    first, second = load(errors_4L, 0), load(errors_4L, LANES)
    third, fourth = load(errors_4L, 2 * LANES), load(errors_4L, 3 * LANES)
    for i in range(len(spikes_R4) // TILE):
        total_L = load(gradient_RL, own + i * LANES)
        total_L = fused(fourth, fetch(spikes_R4, i * TILE + 3), total_L)
        total_L = fused(third, fetch(spikes_R4, i * TILE + 2), total_L)
        total_L = fused(second, fetch(spikes_R4, i * TILE + 1), total_L)
        store(gradient_RL, own + i * LANES, fused(first, fetch(spikes_R4, i * TILE), total_L))


@kernel(forceinline=True)
def next_state(drive, current, potential, bias, constants):
    """One step of I and V before the reset (SPEC 1), in the order of operations of ``reference``; drive None is 0."""
    current = current * constants.alpha_i
    if drive is not None:
        current = current + drive * constants.beta_i
    return current, potential * constants.alpha_v + current * constants.beta_v + bias


@kernel(forceinline=True)
def used_up(word, left_L, start):
    """Count the spikes of neurons that may fire only so often; returns those that fired for the last time."""
    spent = np.uint64(0)
    while word != 0:
        j = lowest(word)
        left_L[start + j] -= np.float32(1)
        if left_L[start + j] <= 0:
            spent |= np.uint64(1) << np.uint64(j)
        word &= word - np.uint64(1)
    return spent


@kernel(forceinline=True)
def after_spikes(word, current, potential, constants):
    """I and V behind the reset of the lanes that fire."""
    zero = np.float32(0)
    current = choose(word & constants.resets_current, zero, current)
    if constants.subtracts:
        return current, choose(word, potential - constants.threshold, potential)
    return current, choose(word, zero, potential)
