"""Forward: one task walks through all layers of a sample; 64 neurons at a time keep their states in registers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .compile import kernel
from .dense import after_spikes, crowded_tile, drive_of, drive_tile, next_state, spread_out, used_up
from .images import add_drives, clear_drives, place
from .lanes import LANES, at_least, choose, claim, load, lowest, members, spread, store
from .layout import TILE, aligned, index_events, spikes_in
from .routes import Heard, add_own, cells_of, copy_step, heard_by

CHUNK_STEPS = 16
"""With early stop, how many steps all layers run before it is seen whether the sample has finished."""


@kernel(forceinline=True)
def _step(t, drive, current, potential, limit, bias, constants, fires):
    """One step of a block; writes who fires, and returns I, V and the threshold behind it."""
    limited, left_L, left_at, words_TP, p, totals_T = fires
    current, potential = next_state(drive, current, potential, bias, constants)
    word = at_least(potential, limit)
    words_TP[t, p] = word
    if word != 0:
        current, potential = after_spikes(word, current, potential, constants)
        totals_T[t] += members(word)
        if limited:
            limit = choose(used_up(word, left_L, left_at), np.float32(np.inf), limit)
    return current, potential, limit


@kernel()
def _run(
    first_step, last_step, heard, p, weights, bias_at, stack, constants, limited, states, scratch, words_TP, totals_T
):
    """Run block p for one sample and write who fires; ``states`` (I, V, threshold, spikes left) go on from before.

    Args:
        heard: what the layer hears from ``first_step`` on.
        weights, bias_at: where the block's weights and biases start.
    """
    starts_T1, rows_E, heights_E = heard
    spikes_R4, drives_4L = scratch
    all_weights = stack.weights
    state, bias, rows = p * 4 * LANES, load(stack.biases, bias_at), len(spikes_R4) // TILE
    current, potential = load(states, state), load(states, state + LANES)
    limit = load(states, state + 2 * LANES)
    fires = (limited, states, state + 3 * LANES, words_TP[first_step:last_step], p, totals_T[first_step:last_step])
    steps = last_step - first_step
    for tile in range(0, steps, TILE):
        last = min(tile + TILE, steps)
        if starts_T1[tile] == starts_T1[last]:
            for t in range(tile, last):
                current, potential, limit = _step(t, None, current, potential, limit, bias, constants, fires)
            continue
        crowded = crowded_tile(tile, steps, starts_T1, rows)
        if crowded:
            spread_out(tile, steps, starts_T1, rows_E, heights_E, spikes_R4)
            drive_tile(spikes_R4, all_weights, weights, drives_4L)
        for t in range(tile, last):
            if crowded:
                drive = load(drives_4L, (t - tile) * LANES)
            else:
                drive = drive_of(starts_T1[t], starts_T1[t + 1], rows_E, heights_E, all_weights, weights)
            current, potential, limit = _step(t, drive, current, potential, limit, bias, constants, fires)
    store(states, state, current)
    store(states, state + LANES, potential)
    store(states, state + 2 * LANES, limit)


@kernel()
def _run_patch(
    first_step, last_step, drives_TW, pitch, own, p, bias_at, stack, constants, limited, states, words_TP, totals_T
):
    """The same for a patch of an image, whose lanes begin at ``own`` in its row of drives."""
    state, bias = p * 4 * LANES, load(stack.biases, bias_at)
    current, potential = load(states, state), load(states, state + LANES)
    limit = load(states, state + 2 * LANES)
    fires = (limited, states, state + 3 * LANES, words_TP[first_step:last_step], p, totals_T[first_step:last_step])
    for t in range(last_step - first_step):
        drive = load(drives_TW, own + t * pitch)
        current, potential, limit = _step(t, drive, current, potential, limit, bias, constants, fires)
    store(states, state, current)
    store(states, state + LANES, potential)
    store(states, state + 2 * LANES, limit)


class _Scratch(NamedTuple):
    """Memory for tiles of steps in which many inputs fire."""

    spikes_R4: Any
    drives_4L: Any


@kernel()
def _run_loop(first_step, last_step, heard, now, k, stack, constants, limited, states, scratch, words_TP, totals_T):
    """Run a layer that hears itself: all blocks one step, then the next; ``now`` is room for what it hears in one."""
    layer, first = stack.wiring.layers[k], np.int64(0)
    rows, groups = layer.rows, layer.groups
    starts_T1, now_T1, rows_E, heights_E = heard.starts_T1, now.starts_T1, now.rows_E, now.heights_E
    for t in range(first_step, last_step):
        i = t - first_step
        e = copy_step(starts_T1[i], starts_T1[i + 1], first, heard, rows_E, heights_E)
        now_T1[1] = add_own(t, e, words_TP, layer, rows_E, heights_E)
        for g in range(groups):
            _run(
                t,
                t + 1,
                now,
                layer.first_block + g,
                layer.weights + g * rows * LANES,
                (layer.biases + g) * LANES,
                stack,
                constants,
                limited,
                states,
                scratch,
                words_TP,
                totals_T,
            )


@kernel(allocates=True)
def _run_layer(first_step, last_step, sample, k, stack, constants, limited, states, words_TP, totals_T):
    """Run all blocks of a fully connected layer for one sample.

    Args:
        sample: its input and who fires, as :func:`app.kernels.routes.cells_of` takes them.
    """
    layer = stack.wiring.layers[k]
    rows = layer.rows
    heard = heard_by(*sample, first_step, last_step, stack.wiring, k)
    scratch = _Scratch(aligned(rows * TILE), aligned(TILE * LANES))
    if layer.own_rows:
        heights = np.empty(rows if len(heard.heights_E) else 0, np.float32)
        now = Heard(np.zeros(2, np.int64), np.empty(rows, np.int32), heights)
        _run_loop(first_step, last_step, heard, now, k, stack, constants, limited, states, scratch, words_TP, totals_T)
        return
    for g in range(layer.groups):
        _run(
            first_step,
            last_step,
            heard,
            layer.first_block + g,
            layer.weights + g * rows * LANES,
            (layer.biases + g) * LANES,
            stack,
            constants,
            limited,
            states,
            scratch,
            words_TP,
            totals_T,
        )


@kernel(allocates=True)
def _run_image(first_step, last_step, sample, k, stack, constants, limited, states, words_TP, totals_T):
    """Run all blocks of a convolutional layer for one sample; see :func:`_run_layer`."""
    layer = stack.wiring.layers[k]
    patches, groups, pitch = layer.patches, layer.groups, layer.pitch
    cells = cells_of(*sample, first_step, last_step, stack.wiring, k, np.empty((0, 0), np.uint64))
    drives_TW = aligned((last_step - first_step) * pitch)
    drives_TW[:] = 0
    for row in range(layer.image_rows):
        add_drives(cells, stack, k, row, drives_TW)
        for i in range(patches):
            for g in range(groups):
                _run_patch(
                    first_step,
                    last_step,
                    drives_TW,
                    pitch,
                    place(layer, i, g),
                    layer.first_block + (row * patches + i) * groups + g,
                    (layer.biases + g) * LANES,
                    stack,
                    constants,
                    limited,
                    states,
                    words_TP,
                    totals_T,
                )
        clear_drives(cells, stack.wiring, k, row, last_step - first_step, drives_TW)


@kernel()
def _take_stock(b, wiring, record):
    """Fill in how often each neuron of a sample fires, and the decision spikes."""
    layers, steps = record.totals_BLT.shape[1:]
    record.counts_BN[b] = 0
    for k in range(layers):
        record.decision_BL[b, k] = spikes_in(record.totals_BLT[b], k, 0, record.until_B[b])
        layer = wiring.layers[k]
        for t in range(steps):
            for p in range(layer.first_block, layer.first_block + layer.blocks if record.totals_BLT[b, k, t] else 0):
                word = record.words_BTP[b, t, p]
                while word != 0:
                    record.counts_BN[b, layer.first_neuron + wiring.neuron_of[p * LANES + lowest(word)]] += 1
                    word &= word - np.uint64(1)


@kernel()
def _write_channels(b, block, words_BTP, spikes_TBN, times_TBN):
    """Both channels of the output layer, whose first block is given."""
    steps, _, neurons = spikes_TBN.shape
    for t in range(steps):
        for n in range(neurons):
            spike = (words_BTP[b, t, block + n // LANES] >> np.uint64(n % LANES)) & np.uint64(1)
            spikes_TBN[t, b, n] = spike
            times_TBN[t, b, n] = t if spike else 0


@kernel(allocates=True)
def forward(
    counter,
    tasks,
    steps_E,
    neurons_E,
    offsets_B1,
    stack,
    constants,
    max_spikes,
    stop,
    record,
    spikes_TBN,
    times_TBN,
):
    """Task b: run all layers for a sample.

    Args:
        steps_E, neurons_E, offsets_B1: the input events.
        max_spikes: 0 means no limit.
        stop: leave out everything behind the step of the first output spike.
        record, spikes_TBN, times_TBN: what is written; the last two are the channels of the output layer.
    """
    layers, steps = record.totals_BLT.shape[1:]
    wiring = stack.wiring
    blocks, chunk = len(wiring.present), CHUNK_STEPS if stop else steps
    states = aligned(blocks * 4 * LANES)
    seen_M = np.empty(wiring.layers[0].inputs, np.int32)
    b = claim(counter)
    while b < tasks:
        inputs_T1, words_TP, until = record.starts_BT1[b], record.words_BTP[b], steps
        record.valid_B[b] = index_events(steps_E, neurons_E, offsets_B1, b, wiring.layers[0].inputs, inputs_T1, seen_M)
        for p in range(blocks):
            store(states, p * 4 * LANES, spread(np.float32(0)))
            store(states, (p * 4 + 1) * LANES, spread(np.float32(0)))
            store(states, (p * 4 + 2) * LANES, choose(wiring.present[p], constants.threshold, np.float32(np.inf)))
            store(states, (p * 4 + 3) * LANES, spread(np.float32(max_spikes)))
        for first in range(0, steps, chunk):
            last = min(first + chunk, steps)
            if until < steps or not record.valid_B[b]:
                words_TP[first:last] = 0
                record.totals_BLT[b, :, first:last] = 0
                continue
            for k in range(layers):
                sample, totals_T = (inputs_T1, neurons_E, words_TP, record.totals_BLT[b]), record.totals_BLT[b, k]
                totals_T[first:last] = 0
                if wiring.layers[k].convolves:
                    _run_image(first, last, sample, k, stack, constants, max_spikes > 0, states, words_TP, totals_T)
                else:
                    _run_layer(first, last, sample, k, stack, constants, max_spikes > 0, states, words_TP, totals_T)
            for t in range(last - 1, first - 1, -1):
                if record.totals_BLT[b, layers - 1, t] > 0:
                    until = t + 1
            if stop:
                words_TP[until:last] = 0
                record.totals_BLT[b, :, until:last] = 0
        record.until_B[b] = until
        _take_stock(b, wiring, record)
        _write_channels(b, wiring.layers[layers - 1].first_block, record.words_BTP, spikes_TBN, times_TBN)
        b = claim(counter)
