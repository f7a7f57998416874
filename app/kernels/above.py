"""Errors on their way down: the products of what a layer leaves behind with its weights.

Between fully connected layers a block of neurons asks all neurons above (:func:`errors_from_above`). Between images it
is the other way round: a row of an image hands its errors down as soon as it has them (``app.kernels.below``), to maps
in which time is contiguous. There 64 steps of one neuron are the lanes, a weight is a number, and no lane is idle.

Shape suffixes: U is T, rounded up to whole panels of 64 steps; a map is [C, U], with a row of zeros behind the last
cell for lanes without one.
"""

from __future__ import annotations

import numpy as np

from .compile import kernel
from .lanes import (
    LANES,
    SQUARE,
    at_least,
    choose,
    fetch,
    fused,
    load,
    lowest,
    magnitude,
    spread,
    store,
    total,
    transpose,
    transpose_rows,
)
from .layout import TILE, aligned

ROWS = 4
"""So many rows of a map are summed at once: the machine's registers hold no more."""


@kernel(forceinline=True)
def zero(values):
    """The lanes that hold 0."""
    return at_least(np.float32(0), magnitude(values))


# --- between fully connected layers -----------------------------------------------------------------------------------


@kernel(forceinline=True)
def add_errors_above(at, upper, weights_KL, first_weight, errors_TL, own):
    """Add Σ_k w_k β_I δI_k over a block of neurons k of the layer above to δS of TILE steps; whether any is not 0.

    Args:
        at: where the steps begin in ``upper``.
        first_weight: where the weights of the block begin in ``weights_KL``.
        own: where the steps begin in ``errors_TL``.
    """
    silent = zero(load(upper, at)) & zero(load(upper, at + LANES))
    silent &= zero(load(upper, at + 2 * LANES)) & zero(load(upper, at + 3 * LANES))
    rest = ~silent
    if rest == 0:
        return False
    first = spread(np.float32(0))
    second, third, fourth = first, first, first
    while rest != 0:
        j = lowest(rest)
        rest &= rest - np.uint64(1)
        weights, one = load(weights_KL, first_weight + j * LANES), at + j
        first, second = fused(weights, fetch(upper, one), first), fused(weights, fetch(upper, one + LANES), second)
        third = fused(weights, fetch(upper, one + 2 * LANES), third)
        fourth = fused(weights, fetch(upper, one + 3 * LANES), fourth)
    # sums of sums: one over hundreds of neurons loses digits
    store(errors_TL, own, load(errors_TL, own) + first)
    store(errors_TL, own + LANES, load(errors_TL, own + LANES) + second)
    store(errors_TL, own + 2 * LANES, load(errors_TL, own + 2 * LANES) + third)
    store(errors_TL, own + 3 * LANES, load(errors_TL, own + 3 * LANES) + fourth)
    return True


@kernel(forceinline=True)
def time_above(row, at, stride, shift, blocks, rows, weights, start):
    """δt̂ of a unit spike that comes in as this row: Σ_k w_k · (the error of moving it in front of neuron k)."""
    products = spread(np.float32(0))
    for q in range(blocks):
        products = fused(load(weights, start + (q * rows + row) * LANES), load(shift, at + q * stride), products)
    return total(products)


@kernel()
def errors_from_above(b, p, live, stack, depth, upper_BQUL, weights_KL, errors_TL, busy_T):
    """δS of block p of a fully connected layer behind which there is another one."""
    blocks, stride = upper_BQUL.shape[1], upper_BQUL.shape[2] * LANES
    upper, start = upper_BQUL.reshape(-1), b * blocks * stride
    errors_TL[: -(-live // TILE) * TILE * LANES] = 0
    busy_T[: -(-live // TILE) * TILE] = False
    for q in range(blocks):  # the weights of one block after the other stay in the fastest cache
        for t in range(0, live, TILE):
            at, weights = start + q * stride + t * LANES, q * LANES * LANES
            if add_errors_above(at, upper, weights_KL, weights, errors_TL, t * LANES):
                busy_T[t : t + TILE] = True


@kernel()
def errors_at_top(b, n0, width, live, spikes_TBN, errors_TL, busy_T):
    """δS of a block of the output layer."""
    for t in range(live):
        busy = False
        store(errors_TL, t * LANES, spread(np.float32(0)))
        for j in range(width):
            errors_TL[t * LANES + j] = spikes_TBN[t, b, n0 + j]
            busy |= spikes_TBN[t, b, n0 + j] != 0
        busy_T[t] = busy


@kernel()
def times_of_block(b, n0, live, words_TP, block, stack, depth, times_TBN, shift_BQUL, times_TL):
    """δt̂ of the spikes of a block of a fully connected layer, the output layer or another one."""
    blocks, stride = shift_BQUL.shape[1], shift_BQUL.shape[2] * LANES
    shift, weights, layers = shift_BQUL.reshape(-1), stack.weights, stack.wiring.layers
    top, rows = depth == len(layers) - 1, 0 if depth == len(layers) - 1 else layers[depth + 1].rows
    start = 0 if top else layers[depth + 1].weights
    for t in range(live):
        word = words_TP[t, block]
        if word != 0:
            store(times_TL, t * LANES, spread(np.float32(0)))
        while word != 0:
            j = lowest(word)
            word &= word - np.uint64(1)
            if top:
                times_TL[t * LANES + j] = times_TBN[t, b, n0 + j]
            else:
                at = b * blocks * stride + t * LANES
                times_TL[t * LANES + j] = time_above(n0 + j, at, stride, shift, blocks, rows, weights, start)


# --- within a layer that hears itself ---------------------------------------------------------------------------------


@kernel(allocates=True)
def own_weights(stack, depth):
    """W_rec of a layer as each of its blocks hears it: [blocks, K, 64], with the K neurons of all blocks."""
    layer = stack.wiring.layers[depth]
    blocks, rows = layer.groups, layer.rows
    weights_PKL = aligned(blocks * blocks * LANES * LANES)
    weights_PKL[:] = 0
    for n in range(layer.neurons):
        first, j = n // LANES * blocks * LANES, n % LANES
        for k in range(layer.neurons):
            row = layer.weights + ((k // LANES) * rows + layer.cells + n) * LANES
            weights_PKL[(first + k) * LANES + j] = stack.weights[row + k % LANES]
    return weights_PKL


@kernel()
def add_own_errors(t, p, drives, at, stride, weights_PKL, blocks, errors_TL, busy_T):
    """Add Σ_k W_rec,kj β_I δI_k[t + 1] to δS[t] of block p of a layer that hears itself.

    Args:
        drives, at, stride: β_I δI of the layer; where that of the sample's first block begins, and of each next one.
        weights_PKL: of :func:`own_weights`.
        errors_TL, busy_T: of the block.
    """
    found, busy = load(errors_TL, t * LANES), busy_T[t]
    for q in range(blocks):
        one, weights = at + q * stride + (t + 1) * LANES, (p * blocks + q) * LANES * LANES
        rest = ~zero(load(drives, one))
        part = spread(np.float32(0))
        while rest != 0:
            j = lowest(rest)
            rest &= rest - np.uint64(1)
            part = fused(load(weights_PKL, weights + j * LANES), fetch(drives, one + j), part)
            busy = True
        found = found + part
    store(errors_TL, t * LANES, found)
    busy_T[t] = busy


@kernel()
def add_own_times(t, p, word, shifts, at, stride, stack, depth, times_TL):
    """Add Σ_k W_rec,kj · (the error of moving a unit spike in front of neuron k in step t + 1) to δt̂ of spikes of t."""
    layer, weights = stack.wiring.layers[depth], stack.weights
    blocks, rows, first, start = layer.groups, layer.rows, layer.cells + p * LANES, layer.weights
    while word != 0:
        j = lowest(word)
        word &= word - np.uint64(1)
        later = time_above(first + j, at + (t + 1) * LANES, stride, shifts, blocks, rows, weights, start)
        times_TL[t * LANES + j] += later


# --- from a fully connected layer to the image below ------------------------------------------------------------------


@kernel(forceinline=True)
def panel(source_TL, first, pitch, panel_LT, own):
    """64 steps of 64 lanes with time contiguous; returns the lanes that are not all 0."""
    for t in range(0, LANES, SQUARE):
        for j in range(0, LANES, SQUARE):
            transpose(source_TL, first + t * pitch + j, pitch, panel_LT, own + j * LANES + t, LANES)
    busy = np.uint64(0)
    for j in range(LANES):
        if ~zero(load(panel_LT, own + j * LANES)) != 0:
            busy |= np.uint64(1) << np.uint64(j)
    return busy


@kernel(forceinline=True)
def _add_some_rows(count, map_CU, at, stride, panel_LT, lanes_N, number, weights, weights_N, row, pitch):
    """Add Σ_n weight · panel over the lanes n to ``count`` rows of a map, from 1 to ROWS at once.

    Args:
        row: where the weights of the first row begin behind ``weights_N``; the next one's begin ``pitch`` later.
    """
    first = spread(np.float32(0))
    second, third, fourth = first, first, first
    for n in range(number):
        line, w = load(panel_LT, fetch(lanes_N, n) * LANES), fetch(weights_N, n) + row
        first = fused(line, fetch(weights, w), first)
        if count > 1:
            second = fused(line, fetch(weights, w + pitch), second)
        if count > 2:
            third = fused(line, fetch(weights, w + 2 * pitch), third)
        if count > 3:
            fourth = fused(line, fetch(weights, w + 3 * pitch), fourth)
    store(map_CU, at, load(map_CU, at) + first)
    if count > 1:
        store(map_CU, at + stride, load(map_CU, at + stride) + second)
    if count > 2:
        store(map_CU, at + 2 * stride, load(map_CU, at + 2 * stride) + third)
    if count > 3:
        store(map_CU, at + 3 * stride, load(map_CU, at + 3 * stride) + fourth)


@kernel()
def add_rows(cells, map_CU, at, stride, panel_LT, lanes_N, number, weights, weights_N, row, pitch):
    """The same for any number of rows, which lie one behind the other in the map and among the weights."""
    whole = cells // ROWS * ROWS
    for c in range(0, whole, ROWS):
        to, of = at + c * stride, row + c * pitch
        _add_some_rows(ROWS, map_CU, to, stride, panel_LT, lanes_N, number, weights, weights_N, of, pitch)
    to, of = at + whole * stride, row + whole * pitch
    if cells - whole == 3:
        _add_some_rows(3, map_CU, to, stride, panel_LT, lanes_N, number, weights, weights_N, of, pitch)
    elif cells - whole == 2:
        _add_some_rows(2, map_CU, to, stride, panel_LT, lanes_N, number, weights, weights_N, of, pitch)
    elif cells - whole == 1:
        _add_some_rows(1, map_CU, to, stride, panel_LT, lanes_N, number, weights, weights_N, of, pitch)


@kernel(allocates=True)
def pull(upper_BQUL, b, live, stack, k, map_CU):
    """δS of all cells below the fully connected layer k, into a map of zeros."""
    layer, blocks, stride = stack.wiring.layers[k], upper_BQUL.shape[1], upper_BQUL.shape[2] * LANES
    upper, rows, width = upper_BQUL.reshape(-1), layer.rows, map_CU.shape[1]
    panels_KT = aligned(blocks * LANES * LANES)
    lanes_N, weights_N = np.empty(blocks * LANES, np.int64), np.empty(blocks * LANES, np.int64)
    target = map_CU.reshape(-1)
    for t in range(0, live, LANES):
        number = 0
        for q in range(blocks):
            busy = panel(upper, (b * blocks + q) * stride + t * LANES, LANES, panels_KT, q * LANES * LANES)
            while busy != 0:
                lanes_N[number] = q * LANES + lowest(busy)
                weights_N[number] = layer.weights + q * rows * LANES + lowest(busy)
                busy &= busy - np.uint64(1)
                number += 1
        if number:
            add_rows(layer.cells, target, t, width, panels_KT, lanes_N, number, stack.weights, weights_N, 0, LANES)


@kernel()
def pull_times(upper_shift_BQUL, b, cells, stack, k, moved_E):
    """The error of moving a unit spike, for all spikes that the fully connected layer k hears."""
    blocks, stride = upper_shift_BQUL.shape[1], upper_shift_BQUL.shape[2] * LANES
    shift, rows, start = upper_shift_BQUL.reshape(-1), stack.wiring.layers[k].rows, stack.wiring.layers[k].weights
    for e in range(len(cells.cells_E)):
        at = b * blocks * stride + cells.steps_E[e] * LANES
        moved_E[e] = time_above(cells.cells_E[e], at, stride, shift, blocks, rows, stack.weights, start)


@kernel()
def times_to_map(cells, moved_E, map_CU):
    """δt̂ of every spike into a map that is read nowhere else: the error of moving a unit spike, times its height."""
    map_CU[-1] = 0
    for e in range(len(cells.cells_E)):
        height = cells.heights_E[e] if len(cells.heights_E) else np.float32(1)
        map_CU[cells.cells_E[e], cells.steps_E[e]] = moved_E[e] * height


@kernel()
def spikes_to_block(map_CU, live, places_N, p, flow_TP, share, errors_TL, busy_T):
    """δS of block p from the map of the cells above; returns whether there is any.

    Args:
        places_N: where the row of each lane of the layer begins in the map.
        flow_TP: the lanes that get the error of their cell; empty for all.
        share: what they get of it.
    """
    values, found = map_CU.reshape(-1), False
    for t in range(0, live, SQUARE):
        for j in range(0, LANES, SQUARE):
            transpose_rows(values, places_N, p * LANES + j, t, errors_TL, t * LANES + j, LANES)
    for t in range(live):
        error = load(errors_TL, t * LANES) * share
        if len(flow_TP):
            error = choose(flow_TP[t, p], error, np.float32(0))
        store(errors_TL, t * LANES, error)
        busy_T[t] = ~zero(error) != 0
        found |= busy_T[t]
    return found


@kernel()
def times_to_block(map_CU, live, places_N, p, flow_TP, share, words_TP, block, times_TL):
    """δt̂ of the spikes of block p from the map of the cells above; returns whether there is any spike."""
    values, found = map_CU.reshape(-1), False
    for t in range(live):
        word = words_TP[t, block]
        if word != 0:
            found = True
            store(times_TL, t * LANES, spread(np.float32(0)))
        if len(flow_TP):
            word &= flow_TP[t, p]
        while word != 0:
            j = lowest(word)
            word &= word - np.uint64(1)
            times_TL[t * LANES + j] = values[places_N[p * LANES + j] + t] * share
    return found
