"""Forward: one task walks through all layers of a sample; 64 neurons at a time keep their states in registers."""

from __future__ import annotations

import numpy as np

from .compile import kernel
from .dense import after_spikes, crowded_tile, drive_of, drive_tile, next_state, spread_out, used_up
from .lanes import LANES, at_least, choose, claim, load, lowest, members, spread, store
from .layout import TILE, aligned, index_events, list_spikes

CHUNK_STEPS = 16
"""With early stop, how many steps all layers run before it is seen whether the sample has finished."""


@kernel()
def _run(first_step, last_step, starts_T1, neurons_E, stack, depth, constants, limited, states, words_TP, totals_T):
    """Run one layer for one sample and write who fires; ``states`` (I, V, threshold, spikes left) go on from before."""
    inputs = stack.sizes[depth]
    spikes_M4, drives_4L = aligned(inputs * TILE), aligned(TILE * LANES)
    totals_T[first_step:last_step] = 0
    for p in range(stack.blocks[depth], stack.blocks[depth + 1]):
        state, bias = p * 4 * LANES, load(stack.biases, p * LANES)
        current, potential = load(states, state), load(states, state + LANES)
        limit = load(states, state + 2 * LANES)
        block = stack.starts[depth] + (p - stack.blocks[depth]) * inputs * LANES
        crowded = False
        for t in range(first_step, last_step):
            if t % TILE == 0:
                crowded = crowded_tile(t, last_step, starts_T1, inputs)
                if crowded:
                    spread_out(t, last_step, starts_T1, neurons_E, spikes_M4)
                    drive_tile(spikes_M4, stack.weights, block, drives_4L)
            if crowded:
                drive = load(drives_4L, (t % TILE) * LANES)
            else:
                drive = drive_of(starts_T1[t], starts_T1[t + 1], neurons_E, stack.weights, block)
            current, potential = next_state(drive, current, potential, bias, constants)
            word = at_least(potential, limit)
            words_TP[t, p] = word
            if word != 0:
                current, potential = after_spikes(word, current, potential, constants)
                totals_T[t] += members(word)
                if limited:
                    limit = choose(used_up(word, states, state + 3 * LANES), np.float32(np.inf), limit)
        store(states, state, current)
        store(states, state + LANES, potential)
        store(states, state + 2 * LANES, limit)


@kernel()
def _take_stock(b, stack, record):
    """Fill in how often each neuron of a sample fires, and the decision spikes."""
    layers, steps = record.totals_BLT.shape[1:]
    record.counts_BN[b] = 0
    neuron = 0
    for k in range(layers):
        record.decision_BL[b, k] = record.totals_BLT[b, k, : record.until_B[b]].sum()
        for t in range(steps):
            for p in range(stack.blocks[k], stack.blocks[k + 1] if record.totals_BLT[b, k, t] else 0):
                word = record.words_BTP[b, t, p]
                while word != 0:
                    record.counts_BN[b, neuron + (p - stack.blocks[k]) * LANES + lowest(word)] += 1
                    word &= word - np.uint64(1)
        neuron += stack.sizes[k + 1]


@kernel()
def _write_channels(b, block, words_BTP, spikes_TBN, times_TBN):
    """Both channels of the output layer, whose first block is given."""
    steps, _, neurons = spikes_TBN.shape
    for t in range(steps):
        for n in range(neurons):
            spike = (words_BTP[b, t, block + n // LANES] >> np.uint64(n % LANES)) & np.uint64(1)
            spikes_TBN[t, b, n] = spike
            times_TBN[t, b, n] = t if spike else 0


@kernel()
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
    blocks, chunk = stack.blocks[layers], CHUNK_STEPS if stop else steps
    states = aligned(blocks * 4 * LANES)
    starts_T1 = np.empty(steps + 1, np.int64)
    heard_E = np.empty(steps * stack.sizes[1:].max(), np.int32)
    seen_M = np.empty(stack.sizes[0], np.int32)
    b = claim(counter)
    while b < tasks:
        inputs_T1, words_TP, until = record.starts_BT1[b], record.words_BTP[b], steps
        record.valid_B[b] = index_events(
            steps_E, neurons_E, offsets_B1[b], offsets_B1[b + 1], stack.sizes[0], inputs_T1, seen_M
        )
        for p in range(blocks):
            store(states, p * 4 * LANES, spread(np.float32(0)))
            store(states, (p * 4 + 1) * LANES, spread(np.float32(0)))
            store(states, (p * 4 + 2) * LANES, spread(constants.threshold))
            store(states, (p * 4 + 3) * LANES, spread(np.float32(max_spikes)))
        for first in range(0, steps, chunk):
            last = min(first + chunk, steps)
            if until < steps or not record.valid_B[b]:
                words_TP[first:last] = 0
                record.totals_BLT[b, :, first:last] = 0
                continue
            for k in range(layers):
                own, totals_T = inputs_T1, record.totals_BLT[b, k]
                spikes_E = neurons_E
                if k > 0:
                    list_spikes(words_TP, stack.blocks[k - 1], stack.blocks[k], first, last, starts_T1, heard_E)
                    own, spikes_E = starts_T1, heard_E
                _run(first, last, own, spikes_E, stack, k, constants, max_spikes > 0, states, words_TP, totals_T)
            for t in range(last - 1, first - 1, -1):
                if record.totals_BLT[b, layers - 1, t] > 0:
                    until = t + 1
            if stop:
                words_TP[until:last] = 0
                record.totals_BLT[b, :, until:last] = 0
        record.until_B[b] = until
        _take_stock(b, stack, record)
        _write_channels(b, stack.blocks[layers - 1], record.words_BTP, spikes_TBN, times_TBN)
        b = claim(counter)
