"""What a layer hears: the spikes below as cells, pooled where pooling stands in between, and as rows of its fields.

A list of cells or rows is sorted by step. Where pooling has averaged, every entry has a height between 0 and 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .lanes import LANES, lowest
from .layout import list_spikes, spikes_in


class Cells(NamedTuple):
    """Cells that are not silent: step t owns the entries ``starts_T1[t]:starts_T1[t + 1]``.

    Args:
        heights_E: empty where all are 1.
    """

    starts_T1: NDArray
    cells_E: NDArray
    heights_E: NDArray


class Heard(NamedTuple):
    """Spikes as rows of fields: step t of field f owns the entries ``starts_FT[f, t]:starts_FT[f, t + 1]``.

    Args:
        heights_E: empty where all are 1.
        origins_E: the entry of :class:`Cells` behind each one; empty unless asked for.
    """

    starts_FT: NDArray
    rows_E: NDArray
    heights_E: NDArray
    origins_E: NDArray


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
def _count_windows(below_TP, wiring, k, starts_T1, cells_E, heights_E, counts_C):
    """Fill in what layer k hears behind a single pooling: the windows in which neurons fire, and how many of them.

    Args:
        below_TP: the spikes below.
        counts_C: zeros.
    """
    layer, cell_of, (steps, blocks) = wiring.layers[k], wiring.cell_of, below_TP.shape
    e, table, size = 0, layer.first_cell_of, np.float32(layer.side * layer.side)
    for t in range(steps):
        starts_T1[t] = e
        for p in range(blocks):
            word = below_TP[t, p]
            while word != 0:
                cell = cell_of[table + p * LANES + lowest(word)]
                word &= word - np.uint64(1)
                if cell < 0:
                    continue
                if counts_C[cell] == 0:
                    cells_E[e] = cell
                    e += 1
                counts_C[cell] += 1
        for i in range(starts_T1[t], e):
            if len(heights_E):
                heights_E[i] = np.float32(counts_C[cells_E[i]]) / size
            counts_C[cells_E[i]] = 0
    starts_T1[steps] = e


@kernel(allocates=True)
def cells_of(starts_T1, neurons_E, words_TP, totals_LT, first, last, wiring, k, flow_TP):
    """What layer k hears in a sample from step ``first`` to ``last``.

    Args:
        starts_T1, neurons_E: the input; step t owns the events ``starts_T1[t]:starts_T1[t + 1]``.
        words_TP, totals_LT: who fires in all layers, and how many.
        flow_TP: where the error of each cell goes, to be filled in; or empty.
    """
    below_TP = _words_below(starts_T1, neurons_E, words_TP, first, last, wiring, k)
    count = spikes_in(totals_LT, k - 1, first, last) if k > 0 else starts_T1[last] - starts_T1[first]
    layer, (steps, blocks) = wiring.layers[k], below_TP.shape
    starts_T1, cells_E = np.empty(steps + 1, np.int64), np.empty(count, np.int32)
    heights_E = np.empty(count if layer.weighted else 0, np.float32)
    table, side = layer.first_cell_of, layer.side
    if layer.pools == 1 and not len(flow_TP):
        _count_windows(below_TP, wiring, k, starts_T1, cells_E, heights_E, np.zeros(layer.cells, np.int32))
        return Cells(starts_T1, cells_E, heights_E)
    seen_C = np.full(layer.cells if side > 1 else 0, -1, np.int32)
    values, winners = np.empty(side * side, np.float32), np.zeros(2 * side * side, np.int32)
    e, cell_of = 0, wiring.cell_of
    for t in range(steps):
        starts_T1[t] = e
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
                cells_E[e] = cell
                e += 1
    starts_T1[steps] = e
    return Cells(starts_T1, cells_E, heights_E)


@kernel()
def _room_of_fields(cells, wiring, k, counts_P, next_F):
    """Let ``next_F`` say where the entries of each field of layer k begin; returns how many there are.

    Args:
        counts_P, next_F: zeros, for every position of the map and every field.
    """
    layer, reach_first, reach_field = wiring.layers[k], wiring.reach_first, wiring.reach_field
    starts_T1, cells_E, _ = cells
    for e in range(starts_T1[len(starts_T1) - 1]):
        counts_P[cells_E[e] // layer.channels] += 1
    for position in range(len(counts_P)):
        reach = layer.first_reach + position
        for i in range(reach_first[reach], reach_first[reach + 1]):
            next_F[reach_field[i]] += counts_P[position]
    entries = 0
    for f in range(len(next_F)):
        next_F[f], entries = entries, entries + next_F[f]
    return entries


@kernel()
def _fill_fields(cells, wiring, k, next_F, starts_FT, rows_E, heights_E, origins_E):
    """Cells as rows of all fields that see them, field by field and step by step."""
    starts_T1, cells_E, cell_heights_E = cells
    reach_first, reach_field, reach_row = wiring.reach_first, wiring.reach_field, wiring.reach_row
    layer, steps = wiring.layers[k], len(starts_T1) - 1
    fields, channels, reach = layer.fields, layer.channels, layer.first_reach
    has_heights, has_origins = len(heights_E) > 0, len(origins_E) > 0
    for t in range(steps):
        for f in range(fields):
            starts_FT[f, t] = next_F[f]
        for e in range(starts_T1[t], starts_T1[t + 1]):
            position, channel = reach + cells_E[e] // channels, cells_E[e] % channels
            for i in range(reach_first[position], reach_first[position + 1]):
                f = reach_field[i]
                entry = next_F[f]
                next_F[f] = entry + 1
                rows_E[entry] = reach_row[i] + channel
                if has_heights:
                    heights_E[entry] = cell_heights_E[e]
                if has_origins:
                    origins_E[entry] = e
    for f in range(fields):
        starts_FT[f, steps] = next_F[f]


@kernel(allocates=True)
def to_fields(cells, wiring, k, want_origins):
    """Cells as rows of all the fields of layer k that see them."""
    layer, steps = wiring.layers[k], len(cells.starts_T1) - 1
    next_F = np.zeros(layer.fields, np.int64)
    entries = _room_of_fields(cells, wiring, k, np.zeros(layer.cells // layer.channels, np.int64), next_F)
    starts_FT = np.empty((layer.fields, steps + 1), np.int64)
    rows_E = np.empty(entries, np.int32)
    heights_E = np.empty(entries if len(cells.heights_E) else 0, np.float32)
    origins_E = np.empty(entries if want_origins else 0, np.int32)
    _fill_fields(cells, wiring, k, next_F, starts_FT, rows_E, heights_E, origins_E)
    return Heard(starts_FT, rows_E, heights_E, origins_E)


@kernel(allocates=True)
def heard_by(starts_T1, neurons_E, words_TP, totals_LT, first, last, wiring, k):
    """What the fields of layer k hear in a sample from step ``first`` to ``last``; see :func:`cells_of`."""
    layer, nothing, none = wiring.layers[k], np.empty(0, np.float32), np.empty(0, np.int32)
    if layer.routed:
        nowhere = np.empty((0, 0), np.uint64)
        cells = cells_of(starts_T1, neurons_E, words_TP, totals_LT, first, last, wiring, k, nowhere)
        return to_fields(cells, wiring, k, False)
    if k == 0:
        return Heard(starts_T1[first : last + 1].reshape(1, -1), neurons_E, nothing, none)
    starts_FT = np.empty((1, last - first + 1), np.int64)
    rows_E = np.empty(spikes_in(totals_LT, k - 1, first, last), np.int32)
    below_TP = words_TP[first:last, wiring.layers[k - 1].first_block : layer.first_block]
    list_spikes(below_TP, starts_FT[0], rows_E)
    return Heard(starts_FT, rows_E, nothing, none)


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
    _, from_rows_E, from_heights_E, _ = heard
    for i in range(begin, end):
        rows_E[e] = from_rows_E[i]
        if len(heights_E):
            heights_E[e] = from_heights_E[i]
        e += 1
    return e


@kernel()
def _join(heard, words_TP, layer, starts_T1, rows_E, heights_E):
    """The spikes below and the layer's own, step by step."""
    below_T1, e = heard.starts_FT[0], 0
    for t in range(len(starts_T1) - 1):
        starts_T1[t] = e
        e = copy_step(below_T1[t], below_T1[t + 1], e, heard, rows_E, heights_E)
        e = add_own(t, e, words_TP, layer, rows_E, heights_E)
    starts_T1[len(starts_T1) - 1] = e


@kernel(allocates=True)
def with_own(heard, words_TP, totals_LT, last, wiring, k):
    """What a layer that hears itself hears up to step ``last``: step by step from below, then from itself."""
    entries = heard.starts_FT[0, last] - heard.starts_FT[0, 0] + spikes_in(totals_LT, k, 0, last - 1)
    starts_FT, rows_E = np.empty((1, last + 1), np.int64), np.empty(entries, np.int32)
    heights_E = np.empty(entries if len(heard.heights_E) else 0, np.float32)
    _join(heard, words_TP, wiring.layers[k], starts_FT[0], rows_E, heights_E)
    return Heard(starts_FT, rows_E, heights_E, heard.origins_E)
