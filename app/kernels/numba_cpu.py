"""The time loops as compiled, event-driven CPU kernels (float32, fully connected layers), tested against ``reference``.

Shape suffixes beside those of the project: L = 64 lanes, the neurons that a task handles at once (one per bit of a
machine word); P = ⌈N / L⌉ blocks of lanes of a layer, the last one padded with neurons that never fire; Q blocks of the
layer above and K its neurons; G groups of samples; E events.

What makes it fast: weights are read and weight gradients added only where a spike is (or, in tiles of steps where half
of all inputs fire, for all inputs and four steps at once); one task walks through the whole
window of 64 neurons whose states stay in machine registers; the membrane potential is never stored, but run again where
the backward scan needs it; the errors of the layer above are multiplied by its weights inside the scan; steps behind
the last error are left out. A neuron's own sums run in a fixed order, whatever the number of threads.

A kernel takes ``counter, tasks, *arguments`` and claims one task after the other until none is left; threads share the
counter. Every kernel has the same order of parts: its task, its state, the loop over time. Kernels call only functions
of this file and of ``lanes``; change a line here after a change there, for the compiler's cache looks at this
file only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .lanes import (
    LANES,
    at_least,
    choose,
    claim,
    exponential,
    fused,
    load,
    lowest,
    magnitude,
    members,
    spread,
    store,
    total,
)

TILE = 4
"""Where a loop goes through all weights, it handles so many steps at once and loads each weight once for all."""
CHUNK_STEPS = 16
"""With early stop, how many steps all layers run before it is seen whether the sample has finished."""
BIAS_STEPS = 64
"""The gradient of the biases is summed over so many steps, then over such sums: one sum over thousands loses digits."""
SQUARE = 16
"""Weights are transposed in squares of so many rows and columns."""


class Constants(NamedTuple):
    """The neuron's constants, all np.float32."""

    alpha_v: np.float32
    alpha_i: np.float32
    beta_v: np.float32
    beta_i: np.float32
    threshold: np.float32


class RuleConstants(NamedTuple):
    """The learning rule's constants, all np.float32; flags are 0 or 1.

    Args:
        lambda_act: λ_act.
        lambda_tim: λ_tim.
        height: α_σ of the exponential surrogate or 1 / width of the rectangular one.
        slope: β_σ of the exponential surrogate; 0 selects the rectangular one.
        half_width: half the width of the rectangular surrogate.
        min_slope: the clamp of V*.
        rnn: differentiate the resets.
        slayer: let errors pass through the resets.
    """

    lambda_act: np.float32
    lambda_tim: np.float32
    height: np.float32
    slope: np.float32
    half_width: np.float32
    min_slope: np.float32
    rnn: np.float32
    slayer: np.float32


class Stack(NamedTuple):
    """Fully connected layers in the kernels' layout; layer k has the neurons ``sizes[k + 1]`` and inputs ``sizes[k]``.

    Args:
        sizes: neurons of the input and of every layer.
        blocks: how many blocks all layers before layer k have; the last entry is the number of all blocks.
        starts: where the weights of layer k start in ``weights``.
        weights: of all layers, each [P, M, L].
        biases: of all layers, times β_b, [P, L].
    """

    sizes: NDArray
    blocks: NDArray
    starts: NDArray
    weights: NDArray
    biases: NDArray


class Record(NamedTuple):
    """What a forward run leaves behind; the axis L counts layers here, and P blocks and N neurons of all layers.

    Args:
        starts_BT1: step t of sample b owns the input events ``starts_BT1[b, t]:starts_BT1[b, t + 1]``.
        words_BTP: who fires.
        totals_BLT: how many fire.
        counts_BN: how often each neuron fires.
        until_B: the steps up to and including the first output spike; T without any.
        decision_BL: the spikes in these steps.
        valid_B: 0 where an input event is misplaced.
    """

    starts_BT1: NDArray
    words_BTP: NDArray
    totals_BLT: NDArray
    counts_BN: NDArray
    until_B: NDArray
    decision_BL: NDArray
    valid_B: NDArray


# --- weights and events -----------------------------------------------------------------------------------------------


@kernel(forceinline=True)
def _copy_square(source, source_start, source_row, target, target_start, target_row):
    """Transpose SQUARE × SQUARE values; a row and a column of them share few cache lines."""
    for i in range(SQUARE):
        for j in range(SQUARE):
            target[target_start + i * target_row + j] = source[source_start + j * source_row + i]


@kernel()
def pack(counter, tasks, weight_NM, packed_PML):
    """Task p: the weights of block p, with the neurons contiguous and padded by zeros."""
    neurons, inputs = weight_NM.shape
    weight, packed = weight_NM.reshape(-1), packed_PML.reshape(-1)
    p = claim(counter)
    while p < tasks:
        width = min(LANES, neurons - p * LANES)
        squares, whole = width // SQUARE * SQUARE, inputs // SQUARE * SQUARE
        for j in range(0, squares, SQUARE):
            for i in range(0, whole, SQUARE):
                _copy_square(weight, (p * LANES + j) * inputs + i, inputs, packed, (p * inputs + i) * LANES + j, LANES)
        for i in range(inputs):
            for j in range(squares if i < whole else 0, LANES):
                packed_PML[p, i, j] = weight_NM[p * LANES + j, i] if j < width else np.float32(0)
        p = claim(counter)


@kernel(forceinline=True)
def _unpack(block_ML, width, weight, start, inputs):
    """The values of one block in the layout of the weight, where the block's rows begin at ``start``."""
    squares, whole = width // SQUARE * SQUARE, inputs // SQUARE * SQUARE
    for j in range(0, squares, SQUARE):
        for i in range(0, whole, SQUARE):
            _copy_square(block_ML, i * LANES + j, LANES, weight, start + j * inputs + i, inputs)
    for j in range(width):
        for i in range(whole if j < squares else 0, inputs):
            weight[start + j * inputs + i] = block_ML[i * LANES + j]


@kernel()
def _index(steps_E, neurons_E, e, end, inputs, starts_T1):
    """Find where the events of each step start, from event e on; False when one is misplaced."""
    steps = len(starts_T1) - 1
    for t in range(steps):
        starts_T1[t] = e
        while e < end and steps_E[e] == t:
            if neurons_E[e] < 0 or neurons_E[e] >= inputs:
                return False
            e += 1
    starts_T1[steps] = e
    return e == end


@kernel()
def _list(words_TP, first_block, last_block, first_step, last_step, starts_T1, neurons_E):
    """The spikes of a layer as events, by step and then by neuron."""
    e = 0
    for t in range(first_step, last_step):
        starts_T1[t] = e
        for p in range(first_block, last_block):
            word = words_TP[t, p]
            while word != 0:
                neurons_E[e] = (p - first_block) * LANES + lowest(word)
                word &= word - np.uint64(1)
                e += 1
    starts_T1[last_step] = e


# --- forward ----------------------------------------------------------------------------------------------------------


@kernel(forceinline=True)
def _aligned(count):
    """Scratch memory of ``count`` floats that starts where a cache line does."""
    raw = np.empty(count + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + count]


@kernel(forceinline=True)
def _store_tile(tile_4L, first, second, third, fourth):
    store(tile_4L, 0, first)
    store(tile_4L, LANES, second)
    store(tile_4L, 2 * LANES, third)
    store(tile_4L, 3 * LANES, fourth)


@kernel(forceinline=True)
def _drive(begin, end, neurons_E, weights, block):
    """Σ_i w_i over the inputs that fire in this step; ``block`` is where the block's weights start."""
    drive = spread(np.float32(0))
    for e in range(begin, end):
        drive = drive + load(weights, block + neurons_E[e] * LANES)
    return drive


@kernel(forceinline=True)
def _crowded(t, last, starts_T1, inputs):
    """Whether the tile of steps from t on holds so many spikes that a walk through all inputs is faster (measured)."""
    return starts_T1[min(t + TILE, last)] - starts_T1[t] > TILE // 2 * inputs


@kernel()
def _spread_out(t, last, starts_T1, neurons_E, spikes_M4):
    """The spikes of the tile of steps from t on, as zeros and ones."""
    spikes_M4[:] = 0
    for step in range(t, min(t + TILE, last)):
        for e in range(starts_T1[step], starts_T1[step + 1]):
            spikes_M4[neurons_E[e] * TILE + step - t] = 1


@kernel()
def _drive_tile(spikes_M4, weights, block, drives_4L):
    """What ``_drive`` computes, for TILE steps at once; the same bits, for a product with 0 or 1 is exact."""
    first = spread(np.float32(0))
    second, third, fourth = first, first, first
    for i in range(len(spikes_M4) // TILE):
        row = load(weights, block + i * LANES)
        first = fused(row, spikes_M4[i * TILE], first)
        second = fused(row, spikes_M4[i * TILE + 1], second)
        third = fused(row, spikes_M4[i * TILE + 2], third)
        fourth = fused(row, spikes_M4[i * TILE + 3], fourth)
    _store_tile(drives_4L, first, second, third, fourth)


@kernel()
def _gradient_tile(spikes_M4, errors_4L, gradient_ML):
    """The gradients of the weights from TILE steps at once, the last step first."""
    first, second = load(errors_4L, 0), load(errors_4L, LANES)
    third, fourth = load(errors_4L, 2 * LANES), load(errors_4L, 3 * LANES)
    for i in range(len(spikes_M4) // TILE):
        total_L = load(gradient_ML, i * LANES)
        total_L = fused(fourth, spikes_M4[i * TILE + 3], total_L)
        total_L = fused(third, spikes_M4[i * TILE + 2], total_L)
        total_L = fused(second, spikes_M4[i * TILE + 1], total_L)
        store(gradient_ML, i * LANES, fused(first, spikes_M4[i * TILE], total_L))


@kernel(forceinline=True)
def _neuron(drive, current, potential, bias, constants):
    """One step of I and V before the reset (SPEC 1), in the order of operations of ``reference``."""
    current = current * constants.alpha_i + drive * constants.beta_i
    return current, potential * constants.alpha_v + current * constants.beta_v + bias


@kernel(forceinline=True)
def _used_up(word, left_L, start):
    """Count the spikes of neurons that may fire only so often; returns those that fired for the last time."""
    spent = np.uint64(0)
    while word != 0:
        j = lowest(word)
        left_L[start + j] -= np.float32(1)
        if left_L[start + j] <= 0:
            spent |= np.uint64(1) << np.uint64(j)
        word &= word - np.uint64(1)
    return spent


@kernel()
def _run(first_step, last_step, starts_T1, neurons_E, stack, depth, constants, limited, states, words_TP, totals_T):
    """Run one layer for one sample and write who fires; ``states`` (I, V, threshold, spikes left) go on from before."""
    zero, inputs = np.float32(0), stack.sizes[depth]
    spikes_M4, drives_4L = _aligned(inputs * TILE), _aligned(TILE * LANES)
    totals_T[first_step:last_step] = 0
    for p in range(stack.blocks[depth], stack.blocks[depth + 1]):
        state, bias = p * 4 * LANES, load(stack.biases, p * LANES)
        current, potential = load(states, state), load(states, state + LANES)
        limit = load(states, state + 2 * LANES)
        block = stack.starts[depth] + (p - stack.blocks[depth]) * inputs * LANES
        crowded = False
        for t in range(first_step, last_step):
            if t % TILE == 0:
                crowded = _crowded(t, last_step, starts_T1, inputs)
                if crowded:
                    _spread_out(t, last_step, starts_T1, neurons_E, spikes_M4)
                    _drive_tile(spikes_M4, stack.weights, block, drives_4L)
            if crowded:
                drive = load(drives_4L, (t % TILE) * LANES)
            else:
                drive = _drive(starts_T1[t], starts_T1[t + 1], neurons_E, stack.weights, block)
            current, potential = _neuron(drive, current, potential, bias, constants)
            word = at_least(potential, limit)
            words_TP[t, p] = word
            if word != 0:
                current, potential = choose(word, zero, current), choose(word, zero, potential)
                totals_T[t] += members(word)
                if limited:
                    limit = choose(_used_up(word, states, state + 3 * LANES), np.float32(np.inf), limit)
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
    states = _aligned(blocks * 4 * LANES)
    starts_T1 = np.empty(steps + 1, np.int64)
    heard_E = np.empty(steps * stack.sizes[1:].max(), np.int32)
    b = claim(counter)
    while b < tasks:
        inputs_T1, words_TP, until = record.starts_BT1[b], record.words_BTP[b], steps
        record.valid_B[b] = _index(steps_E, neurons_E, offsets_B1[b], offsets_B1[b + 1], stack.sizes[0], inputs_T1)
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
                    _list(words_TP, stack.blocks[k - 1], stack.blocks[k], first, last, starts_T1, heard_E)
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


# --- backward ---------------------------------------------------------------------------------------------------------


@kernel()
def live_steps(error_TBN, error_t_TBN, costs_LB, until_B, live_B):
    """The number of steps of each sample up to the last one with any error."""
    steps, samples, neurons = error_TBN.shape
    for b in range(samples):
        live_B[b] = 0
        for k in range(len(costs_LB)):
            if costs_LB[k, b] != 0:
                live_B[b] = until_B[b]
    for t in range(steps):
        for b in range(samples):
            for n in range(neurons):
                if error_TBN[t, b, n] != 0 or error_t_TBN[t, b, n] != 0:
                    live_B[b] = max(live_B[b], t + 1)


@kernel(forceinline=True)
def _surrogate(potential, threshold, rule):
    """σ(V)."""
    distance = magnitude(potential - threshold)
    if rule.slope != 0:
        return exponential(distance * -rule.slope) * rule.height
    return choose(at_least(distance, rule.half_width), np.float32(0), spread(rule.height))


@kernel(forceinline=True)
def _zero(values):
    """The lanes that hold 0."""
    return at_least(np.float32(0), magnitude(values))


@kernel(forceinline=True)
def _spikes_above(blocks, at, stride, upper, weights_KL, tile_4L):
    """δS = Σ_k w_k β_I δI_k over the neurons k of the layer above, for TILE steps; False when none has an error.

    Args:
        blocks: how many blocks of neurons the layer above has.
        at, stride: where the steps begin in ``upper``, and how far apart its blocks are.
    """
    first, found = spread(np.float32(0)), False
    second, third, fourth = first, first, first
    for q in range(blocks):
        start = at + q * stride
        zero = _zero(load(upper, start)) & _zero(load(upper, start + LANES))
        zero &= _zero(load(upper, start + 2 * LANES)) & _zero(load(upper, start + 3 * LANES))
        rest = ~zero
        found |= rest != 0
        while rest != 0:
            j = lowest(rest)
            rest &= rest - np.uint64(1)
            weights, one = load(weights_KL, (q * LANES + j) * LANES), start + j
            first, second = fused(weights, upper[one], first), fused(weights, upper[one + LANES], second)
            third = fused(weights, upper[one + 2 * LANES], third)
            fourth = fused(weights, upper[one + 3 * LANES], fourth)
    _store_tile(tile_4L, first, second, third, fourth)
    return found


@kernel(forceinline=True)
def _time_above(n, at, stride, shift, blocks, neurons, weights, start):
    """δt̂ of one spike of neuron n: Σ_k w_kn · (the error of moving a unit spike in front of neuron k)."""
    products = spread(np.float32(0))
    for q in range(blocks):
        row = load(weights, start + (q * neurons + n) * LANES)
        products = fused(row, load(shift, at + q * stride), products)
    return total(products)


@kernel()
def backward(
    counter,
    tasks,
    groups,
    neurons_E,
    stack,
    depth,
    constants,
    rule,
    max_spikes,
    record,
    live_B,
    cost_B,
    error_TBN,
    error_t_TBN,
    upper_BQUL,
    upper_shift_BQUL,
    upper_weight_KN,
    drive_BPUL,
    shift_BPUL,
    gradient_GNM,
    bias_gradient_GPL,
):
    """Task (block, group of samples): the gradients of 64 neurons of a layer, and their errors for the layer below.

    Args:
        groups: how many groups of samples there are.
        neurons_E: the input events.
        depth: which layer. The errors of the last one are ``error_TBN`` and ``error_t_TBN``; those of the others come
            from the layer above as ``upper_BQUL`` (β_I δI) and ``upper_shift_BQUL``, to be multiplied by its weights.
            U is T, rounded up to whole tiles. Layer 0 writes no ``drive_BPUL`` and ``shift_BPUL``.
        max_spikes: 0 means no limit.
        live_B: later steps have no error.
        cost_B: the error of each decision spike of the layer.
        gradient_GNM, bias_gradient_GPL: the sums of each group, without β_b.
    """
    samples, steps = record.words_BTP.shape[:2]
    layers = record.totals_BLT.shape[1]
    top, bottom = depth == layers - 1, depth == 0
    block0, blocks = stack.blocks[depth], stack.blocks[depth + 1] - stack.blocks[depth]
    inputs, neurons = stack.sizes[depth], stack.sizes[depth + 1]
    above = 0 if top else upper_weight_KN.shape[0]
    stride, upper_stride = drive_BPUL.shape[2] * LANES, upper_BQUL.shape[2] * LANES
    upper, upper_shift = upper_BQUL.reshape(-1), upper_shift_BQUL.reshape(-1)
    act, tim, rnn, slayer = rule.lambda_act != 0, rule.lambda_tim != 0, rule.rnn != 0, rule.slayer != 0
    zero, half = np.float32(0), constants.beta_i / np.float32(2)
    ahead_v = constants.beta_v * constants.alpha_v
    gradient, gradient_ML = gradient_GNM.reshape(-1), _aligned(inputs * LANES)
    potential_TL = _aligned(steps * LANES)
    current_TL = _aligned(steps * LANES if rnn else 0)
    spent_T = np.zeros(steps if max_spikes else 0, np.uint64)
    upper_blocks, upper_start = upper_BQUL.shape[1], 0 if top else stack.starts[depth + 1]
    weights_KL = _aligned(upper_blocks * LANES * LANES)
    tile_4L, drives_4L = _aligned(TILE * LANES), _aligned(TILE * LANES)
    spikes_M4 = _aligned(inputs * TILE)
    listed_T1, listed_E = np.empty(steps + 1, np.int64), np.empty(0 if bottom else steps * inputs, np.int32)
    row_L, bias_L = _aligned(LANES), _aligned(LANES)
    left_L = _aligned(LANES)
    task = claim(counter)
    while task < tasks:
        p, g = task // groups, task % groups
        n0, width = p * LANES, min(LANES, neurons - p * LANES)
        block = stack.starts[depth] + p * inputs * LANES
        weights_KL[:] = 0
        for k in range(above):
            for j in range(width):
                weights_KL[k * LANES + j] = upper_weight_KN[k, n0 + j]
        gradient_ML[:] = 0
        store(tile_4L, 0, spread(zero))
        bias = load(stack.biases, (block0 + p) * LANES)
        store(bias_L, 0, spread(zero))
        for b in range(g * samples // groups, (g + 1) * samples // groups):
            own, over = (b * blocks + p) * stride, b * upper_blocks * upper_stride
            # the membrane potential once more, to the last error
            current, potential, spent = spread(zero), spread(zero), np.uint64(0)
            store(left_L, 0, spread(np.float32(max_spikes)))
            live, until, crowded = live_B[b], record.until_B[b], False
            starts_T1, spikes_E, words_TP = record.starts_BT1[b], neurons_E, record.words_BTP[b]
            if not bottom:
                _list(words_TP, stack.blocks[depth - 1], block0, 0, live, listed_T1, listed_E)
                starts_T1, spikes_E = listed_T1, listed_E
            for t in range(live):
                if t % TILE == 0:
                    crowded = _crowded(t, live, starts_T1, inputs)
                    if crowded:
                        _spread_out(t, live, starts_T1, spikes_E, spikes_M4)
                        _drive_tile(spikes_M4, stack.weights, block, drives_4L)
                if crowded:
                    drive = load(drives_4L, (t % TILE) * LANES)
                else:
                    drive = _drive(starts_T1[t], starts_T1[t + 1], spikes_E, stack.weights, block)
                current, potential = _neuron(drive, current, potential, bias, constants)
                store(potential_TL, t * LANES, potential)
                if rnn:
                    store(current_TL, t * LANES, current)
                word = words_TP[t, block0 + p]
                current, potential = choose(word, zero, current), choose(word, zero, potential)
                if max_spikes:
                    spent_T[t] = _used_up(word, left_L, 0)
                    spent |= spent_T[t]
            # from the last error back to the first step
            d_potential, d_current, d_bias = spread(zero), spread(zero), spread(zero)
            found = False
            _store_tile(drives_4L, d_bias, d_bias, d_bias, d_bias)
            for t in range(live - 1, -1, -1):
                potential, word = load(potential_TL, t * LANES), words_TP[t, block0 + p]
                # the learning rule: from the errors of spikes and times to the error of the potential
                error, surrogate = spread(zero), spread(zero)
                if act and top:
                    found = False
                    for j in range(width):
                        tile_4L[j] = error_TBN[t, b, n0 + j]
                        found |= tile_4L[j] != 0
                elif act and (t % TILE == TILE - 1 or t == live - 1):
                    found = _spikes_above(
                        upper_blocks, over + (t - t % TILE) * LANES, upper_stride, upper, weights_KL, tile_4L
                    )
                cost = cost_B[b] if act and t < until else zero
                if found or rnn or cost != 0:
                    surrogate = _surrogate(potential, constants.threshold, rule)
                if found or cost != 0:
                    above_L = load(tile_4L, 0 if top else (t % TILE) * LANES) + cost
                    error = surrogate * above_L * rule.lambda_act
                if tim and word != 0:
                    store(row_L, 0, error)
                    rest, last_word = word, words_TP[t - 1, block0 + p] if t > 0 else ~np.uint64(0)
                    while rest != 0:
                        j = lowest(rest)
                        if top:
                            error_t = error_t_TBN[t, b, n0 + j]
                        else:
                            at = over + t * LANES
                            error_t = _time_above(
                                n0 + j, at, upper_stride, upper_shift, upper_blocks, neurons, stack.weights, upper_start
                            )
                        slope = potential_TL[t * LANES + j]
                        if not (last_word >> np.uint64(j)) & np.uint64(1):
                            slope -= potential_TL[(t - 1) * LANES + j]
                        row_L[j] -= rule.lambda_tim * (error_t / max(slope, rule.min_slope))
                        rest &= rest - np.uint64(1)
                    error = load(row_L, 0)
                if rnn:
                    leak = potential * d_potential * constants.alpha_v
                    leak = fused(load(current_TL, t * LANES) * d_current, constants.alpha_i, leak)
                    error = error - surrogate * leak
                if max_spikes:
                    spent &= ~spent_T[t]
                    error = choose(spent, zero, error)
                # the reverse scan
                if not slayer:
                    d_potential, d_current = choose(word, zero, d_potential), choose(word, zero, d_current)
                later = d_current
                d_potential = fused(d_potential, constants.alpha_v, error)
                d_current = fused(later, constants.alpha_i, d_potential * constants.beta_v)
                d_bias = d_bias + d_potential
                if t % BIAS_STEPS == 0:
                    store(bias_L, 0, load(bias_L, 0) + d_bias)
                    d_bias = spread(zero)
                drive = d_current * constants.beta_i
                if not bottom:
                    ahead = fused(d_current, constants.alpha_i, d_potential * ahead_v)
                    store(drive_BPUL, own + t * LANES, drive)
                    store(shift_BPUL, own + t * LANES, (later - ahead) * half)
                # the gradient of the weights, where a spike came in
                if t % TILE == TILE - 1 or t == live - 1:
                    crowded = _crowded(t - t % TILE, live, starts_T1, inputs)
                if not crowded:
                    for e in range(starts_T1[t], starts_T1[t + 1]):
                        at = spikes_E[e] * LANES
                        store(gradient_ML, at, load(gradient_ML, at) + drive)
                else:
                    store(drives_4L, (t % TILE) * LANES, drive)
                    if t % TILE == 0:
                        _spread_out(t, live, starts_T1, spikes_E, spikes_M4)
                        _gradient_tile(spikes_M4, drives_4L, gradient_ML)
        _unpack(gradient_ML, width, gradient, (g * neurons + n0) * inputs, inputs)
        store(bias_gradient_GPL, (g * blocks + p) * LANES, load(bias_L, 0))
        task = claim(counter)
