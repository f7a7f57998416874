"""What a layer hears: the spikes below as cells, pooled where pooling stands in between.

Cells are sorted by the row of their map, so that what a row of the image hears is one run of them for each row of the
kernel. Where pooling has averaged, every entry has a height between 0 and 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .lanes import LANES, lowest
from .layout import list_spikes, spikes_in


class Cells(NamedTuple):
    """Cells that are not silent, sorted by the row of their map and then by step.

    Args:
        firsts_Y1: row y of the map owns the entries ``firsts_Y1[y]:firsts_Y1[y + 1]``.
        heights_E: empty where all are 1.
    """

    firsts_X1: NDArray
    cells_E: NDArray
    steps_E: NDArray
    heights_E: NDArray


class Heard(NamedTuple):
    """Spikes as rows of weights: step t owns the entries ``starts_T1[t]:starts_T1[t + 1]``.

    Args:
        heights_E: empty where all are 1.
    """

    starts_T1: NDArray
    rows_E: NDArray
    heights_E: NDArray


@kernel()
def _pool(words_P, cell, wiring, k, values, winners):
    """The height of a pooled cell; ``winners`` gets the place of the largest value of every window on the way."""
    layer = wiring.layers[k]
    side = layer.side
    for j in range(side * side):
        lane = wiring.under[layer.first_under + cell * side * side + j]
        values[j] = (words_P[lane // LANES] >> np.uint64(lane % LANES)) & np.uint64(1)
    w = 0
    for i in range(layer.first_pool, layer.first_pool + layer.pools):
        size = wiring.pool_size[i]
        windows = side // size
        for y in range(windows):
            for x in range(windows):
                total, best = np.float32(0), np.float32(-1)
                for j in range(size):
                    for n in range(size):
                        value = values[(y * size + j) * side + x * size + n]
                        total += value
                        if value > best:
                            best, winners[w + y * windows + x] = value, j * size + n
                values[y * windows + x] = best if wiring.pool_is_max[i] else total / np.float32(size * size)
        w += windows * windows
        side = windows
    return values[0]


@kernel()
def _send_back(flow_P, cell, wiring, k, winners):
    """Mark the lanes below a cell to which its error goes: through every maximum pooling, the winner's."""
    layer = wiring.layers[k]
    whole = layer.side
    for j in range(whole * whole):
        y, x, side, w, wins = j // whole, j % whole, whole, 0, True
        for i in range(layer.first_pool, layer.first_pool + layer.pools):
            size = wiring.pool_size[i]
            windows = side // size
            if wiring.pool_is_max[i]:
                wins &= winners[w + y // size * windows + x // size] == y % size * size + x % size
            w += windows * windows
            y, x, side = y // size, x // size, windows
        lane = wiring.under[layer.first_under + cell * whole * whole + j]
        bit = np.uint64(1) << np.uint64(lane % LANES)
        flow_P[lane // LANES] = flow_P[lane // LANES] | bit if wins else flow_P[lane // LANES] & ~bit


@kernel(allocates=True)
def _words_below(starts_T1, neurons_E, words_TP, first, last, wiring, k):
    """The spikes of layer k − 1 as words, its blocks alone; of the input, when k = 0."""
    if k > 0:
        return words_TP[first:last, wiring.layers[k - 1].first_block : wiring.layers[k].first_block]
    blocks = (wiring.layers[0].inputs + LANES - 1) // LANES
    inputs_TP = np.zeros((last - first, blocks), np.uint64)
    for t in range(first, last):
        for e in range(starts_T1[t], starts_T1[t + 1]):
            inputs_TP[t - first, neurons_E[e] // LANES] |= np.uint64(1) << np.uint64(neurons_E[e] % LANES)
    return inputs_TP[:, 0:blocks]


@kernel()
def _count_windows(below_TP, wiring, k, cells_E, steps_E, heights_E, counts_C):
    """What layer k hears behind a single pooling: the windows in which neurons fire, and how many of them; by step.

    Args:
        below_TP: the spikes below.
        counts_C: zeros.
    """
    layer, cell_of, (steps, blocks) = wiring.layers[k], wiring.cell_of, below_TP.shape
    e, table, size = 0, layer.first_cell_of, np.float32(layer.side * layer.side)
    for t in range(steps):
        first = e
        for p in range(blocks):
            word = below_TP[t, p]
            while word != 0:
                cell = cell_of[table + p * LANES + lowest(word)]
                word &= word - np.uint64(1)
                if cell < 0:
                    continue
                if counts_C[cell] == 0:
                    cells_E[e], steps_E[e] = cell, t
                    e += 1
                counts_C[cell] += 1
        for i in range(first, e):
            if len(heights_E):
                heights_E[i] = np.float32(counts_C[cells_E[i]]) / size
            counts_C[cells_E[i]] = 0
    return e


@kernel()
def _find_cells(below_TP, wiring, k, cells_E, steps_E, heights_E, flow_TP, seen_C, values, winners):
    """The same behind any pooling or none; see :func:`cells_of`.

    Args:
        seen_C: −1, for every cell behind pooling.
        values, winners: room for :func:`_pool`.
    """
    layer, cell_of, (steps, blocks) = wiring.layers[k], wiring.cell_of, below_TP.shape
    e, table, side = 0, layer.first_cell_of, layer.side
    for t in range(steps):
        if len(flow_TP):
            for p in range(blocks):
                flow_TP[t, p] = wiring.quiet[wiring.layers[k - 1].first_block + p]
        for p in range(blocks):
            word = below_TP[t, p]
            while word != 0:
                cell = cell_of[table + p * LANES + lowest(word)]
                word &= word - np.uint64(1)
                if cell < 0:
                    continue
                if side > 1:
                    if seen_C[cell] == t:
                        continue
                    seen_C[cell] = t
                    height = _pool(below_TP[t], cell, wiring, k, values, winners)
                    if len(heights_E):
                        heights_E[e] = height
                    if len(flow_TP):
                        _send_back(flow_TP[t], cell, wiring, k, winners)
                cells_E[e], steps_E[e] = cell, t
                e += 1
    return e


@kernel()
def _sort(found, unsorted, row, cells):
    """Sort the first ``found`` cells, which come by step, by the row of their map, which has so many cells."""
    from_E, from_steps_E, from_heights_E = unsorted
    firsts_Y1, cells_E, steps_E, heights_E = cells
    firsts_Y1[:] = 0
    for e in range(found):
        firsts_Y1[from_E[e] // row] += 1
    for y in range(1, len(firsts_Y1)):
        firsts_Y1[y] += firsts_Y1[y - 1]
    for e in range(found - 1, -1, -1):  # the last one first, hence each row's end becomes its first
        y = from_E[e] // row
        at = firsts_Y1[y] - 1
        firsts_Y1[y] = at
        cells_E[at], steps_E[at] = from_E[e], from_steps_E[e]
        if len(heights_E):
            heights_E[at] = from_heights_E[e]


@kernel(allocates=True)
def cells_of(starts_T1, neurons_E, words_TP, totals_LT, first, last, wiring, k, flow_TP):
    """What layer k hears in a sample from step ``first`` to ``last``, which counts as step 0.

    Args:
        starts_T1, neurons_E: the input; step t owns the events ``starts_T1[t]:starts_T1[t + 1]``.
        words_TP, totals_LT: who fires in all layers, and how many.
        flow_TP: where the error of each cell goes, to be filled in; or empty.
    """
    layer, below_TP = wiring.layers[k], _words_below(starts_T1, neurons_E, words_TP, first, last, wiring, k)
    count = spikes_in(totals_LT, k - 1, first, last) if k > 0 else starts_T1[last] - starts_T1[first]
    cells_E, steps_E = np.empty(count, np.int32), np.empty(count, np.int32)
    heights_E = np.empty(count if layer.weighted else 0, np.float32)
    if layer.pools == 1 and not len(flow_TP):
        counts_C = np.zeros(layer.cells, np.int32)
        found = _count_windows(below_TP, wiring, k, cells_E, steps_E, heights_E, counts_C)
    else:
        side = layer.side
        seen_C = np.full(layer.cells if side > 1 else 0, -1, np.int32)
        values, winners = np.empty(side * side, np.float32), np.zeros(2 * side * side, np.int32)
        found = _find_cells(below_TP, wiring, k, cells_E, steps_E, heights_E, flow_TP, seen_C, values, winners)
    cells = Cells(
        np.empty(layer.map_rows + 1, np.int64),
        np.empty(found, np.int32),
        np.empty(found, np.int32),
        np.empty(found if layer.weighted else 0, np.float32),
    )
    _sort(found, (cells_E, steps_E, heights_E), layer.channels * layer.map_columns, cells)
    return cells


@kernel()
def _count_steps(steps_E, starts_T1):
    """Where each step starts among entries that are sorted by step."""
    starts_T1[:] = 0
    for e in range(len(steps_E)):
        starts_T1[steps_E[e] + 1] += 1
    for t in range(1, len(starts_T1)):
        starts_T1[t] += starts_T1[t - 1]


@kernel(allocates=True)
def heard_by(starts_T1, neurons_E, words_TP, totals_LT, first, last, wiring, k):
    """What the fully connected layer k hears in a sample from step ``first`` to ``last``; see :func:`cells_of`."""
    layer, nothing = wiring.layers[k], np.empty(0, np.float32)
    if k == 0 and not layer.routed:
        return Heard(starts_T1[first : last + 1], neurons_E, nothing)
    events_T1 = np.empty(last - first + 1, np.int64)
    if layer.routed:
        nowhere = np.empty((0, 0), np.uint64)
        cells = cells_of(starts_T1, neurons_E, words_TP, totals_LT, first, last, wiring, k, nowhere)
        _count_steps(cells.steps_E, events_T1)
        return Heard(events_T1, cells.cells_E, cells.heights_E)
    rows_E = np.empty(spikes_in(totals_LT, k - 1, first, last), np.int32)
    list_spikes(words_TP[first:last, wiring.layers[k - 1].first_block : layer.first_block], events_T1, rows_E)
    return Heard(events_T1, rows_E, nothing)


@kernel()
def add_own(t, e, words_TP, layer, rows_E, heights_E):
    """Append a layer's own spikes of the step before t to what it hears, from entry e on; returns the end of them."""
    if t > 0:
        for p in range(layer.groups):
            word = words_TP[t - 1, layer.first_block + p]
            while word != 0:
                rows_E[e] = layer.cells + p * LANES + lowest(word)
                if len(heights_E):
                    heights_E[e] = np.float32(1)
                word &= word - np.uint64(1)
                e += 1
    return e


@kernel()
def copy_step(begin, end, e, heard, rows_E, heights_E):
    """Append what a layer hears from below to a list, from entry e on; returns the end of it."""
    _, from_rows_E, from_heights_E = heard
    for i in range(begin, end):
        rows_E[e] = from_rows_E[i]
        if len(heights_E):
            heights_E[e] = from_heights_E[i]
        e += 1
    return e


@kernel()
def _join(heard, words_TP, layer, starts_T1, rows_E, heights_E):
    """The spikes below and the layer's own, step by step."""
    below_T1, e = heard.starts_T1, 0
    for t in range(len(starts_T1) - 1):
        starts_T1[t] = e
        e = copy_step(below_T1[t], below_T1[t + 1], e, heard, rows_E, heights_E)
        e = add_own(t, e, words_TP, layer, rows_E, heights_E)
    starts_T1[len(starts_T1) - 1] = e


@kernel(allocates=True)
def with_own(heard, words_TP, totals_LT, last, wiring, k):
    """What a layer that hears itself hears up to step ``last``: step by step from below, then from itself."""
    entries = heard.starts_T1[last] - heard.starts_T1[0] + spikes_in(totals_LT, k, 0, last - 1)
    starts_T1, rows_E = np.empty(last + 1, np.int64), np.empty(entries, np.int32)
    heights_E = np.empty(entries if len(heard.heights_E) else 0, np.float32)
    _join(heard, words_TP, wiring.layers[k], starts_T1, rows_E, heights_E)
    return Heard(starts_T1, rows_E, heights_E)
