"""The time loops as compiled, event-driven CPU kernels (float32, fully connected layers), tested against ``reference``.

Shape suffixes beside those of the project: L = 64 lanes, the neurons that a task handles at once (one per bit of a
machine word); P = ⌈N / L⌉ blocks of lanes of a layer, the last one padded with neurons that never fire; Q blocks of the
layer above and K its neurons; G groups of samples; E events.

What makes it fast: weights are read and weight gradients added only where a spike is (or, in tiles of steps where half
of all inputs fire, for all inputs and four steps at once); one task walks through the whole
window of 64 neurons whose states stay in machine registers; the membrane potential is never stored, but run again where
the backward scan needs it; the errors of the layer above are multiplied by its weights inside the scan; steps behind
the last error are left out. A neuron's own sums run in a fixed order, whatever the number of threads.

Every kernel has the same order of parts: its task, its state, the loop over time. Kernels call only functions of this
file and of ``numba_lanes``; change a line here after a change there, for the compiler's cache looks at this file only.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core import event

from app.kernels.numba_lanes import (
    LANES,
    at_least,
    choose,
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


class _Announcement(event.Listener):
    """One line on stderr when the first kernel has to be compiled, for that takes some seconds."""

    def __init__(self) -> None:
        self.silent = False

    def on_start(self, event: event.Event) -> None:
        """Called by numba before it compiles anything that the disk cache does not hold."""
        if not self.silent and event.data["dispatcher"].py_func.__module__ == __name__:
            self.silent = True
            print("compiling the numba kernels, once for this machine (about 10 s) ...", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcement())


def kernel(**options: Any):
    """Compile with a cache on disk, or without one where no directory for it is writable."""

    def compile_(function):
        try:
            return njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:
            return njit(nogil=True, error_model="numpy", **options)(function)

    return compile_


# --- weights and events -----------------------------------------------------------------------------------------------


@kernel(forceinline=True)
def _copy_square(source, source_start, source_row, target, target_start, target_row):
    """Transpose SQUARE × SQUARE values; a row and a column of them share few cache lines."""
    for i in range(SQUARE):
        for j in range(SQUARE):
            target[target_start + i * target_row + j] = source[source_start + j * source_row + i]


@kernel()
def pack(first, last, weight_NM, packed_PML):
    """Task p: the weights of block p, with the neurons contiguous and padded by zeros."""
    neurons, inputs = weight_NM.shape
    weight, packed = weight_NM.reshape(-1), packed_PML.reshape(-1)
    for p in range(first, last):
        width = min(LANES, neurons - p * LANES)
        squares, whole = width // SQUARE * SQUARE, inputs // SQUARE * SQUARE
        for j in range(0, squares, SQUARE):
            for i in range(0, whole, SQUARE):
                _copy_square(weight, (p * LANES + j) * inputs + i, inputs, packed, (p * inputs + i) * LANES + j, LANES)
        for i in range(inputs):
            for j in range(squares if i < whole else 0, LANES):
                packed_PML[p, i, j] = weight_NM[p * LANES + j, i] if j < width else np.float32(0)


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
def index_events(steps_E, neurons_E, offsets_B1, inputs, starts_BT1):
    """Step t of sample b owns the events starts_BT1[b, t]:starts_BT1[b, t + 1]; False when an event is misplaced."""
    samples, steps = starts_BT1.shape[0], starts_BT1.shape[1] - 1
    for b in range(samples):
        e, end = offsets_B1[b], offsets_B1[b + 1]
        for t in range(steps):
            starts_BT1[b, t] = e
            while e < end and steps_E[e] == t:
                if neurons_E[e] < 0 or neurons_E[e] >= inputs:
                    return False
                e += 1
        starts_BT1[b, steps] = e
        if e != end:
            return False
    return True


@kernel()
def count_words(first, last, words_BTP, first_step, last_step, totals_BT):
    """Task b: how many neurons of the layer fire at each step."""
    for b in range(first, last):
        for t in range(first_step, last_step):
            count = 0
            for p in range(words_BTP.shape[2]):
                count += members(words_BTP[b, t, p])
            totals_BT[b, t] = count


@kernel()
def list_words(first, last, words_BTP, first_step, last_step, starts_BT1, steps_E, neurons_E, counts_BN):
    """Task b: the spikes as events, by step and then by neuron, and how often each neuron fires."""
    for b in range(first, last):
        for t in range(first_step, last_step):
            e = starts_BT1[b, t]
            for p in range(words_BTP.shape[2]):
                word = words_BTP[b, t, p]
                while word != 0:
                    n = p * LANES + lowest(word)
                    steps_E[e] = t
                    neurons_E[e] = n
                    counts_BN[b, n] += 1
                    word &= word - np.uint64(1)
                    e += 1


@kernel()
def write_channels(first, last, starts_BT1, neurons_E, spikes_TBN, times_TBN):
    """Task b: both channels of the output layer, from its events."""
    steps = len(spikes_TBN)
    for b in range(first, last):
        for t in range(steps):
            spikes_TBN[t, b] = 0
            times_TBN[t, b] = 0
            for e in range(starts_BT1[b, t], starts_BT1[b, t + 1]):
                spikes_TBN[t, b, neurons_E[e]] = 1
                times_TBN[t, b, neurons_E[e]] = t


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
def _drive(begin, end, neurons_E, packed_PML, block):
    """Σ_i w_i over the inputs that fire in this step; ``block`` is where the block's weights start."""
    drive = spread(np.float32(0))
    for e in range(begin, end):
        drive = drive + load(packed_PML, block + neurons_E[e] * LANES)
    return drive


@kernel(forceinline=True)
def _crowded(t, last, starts_BT1, b, inputs):
    """Whether the tile of steps from t on holds so many spikes that a walk through all inputs is faster (measured)."""
    return starts_BT1[b, min(t + TILE, last)] - starts_BT1[b, t] > TILE // 2 * inputs


@kernel()
def _spread_out(t, last, starts_BT1, neurons_E, b, spikes_M4):
    """The spikes of the tile of steps from t on, as zeros and ones."""
    spikes_M4[:] = 0
    for step in range(t, min(t + TILE, last)):
        for e in range(starts_BT1[b, step], starts_BT1[b, step + 1]):
            spikes_M4[neurons_E[e] * TILE + step - t] = 1


@kernel()
def _drive_tile(spikes_M4, packed_PML, block, drives_4L):
    """What ``_drive`` computes, for TILE steps at once; the same bits, for a product with 0 or 1 is exact."""
    first = spread(np.float32(0))
    second, third, fourth = first, first, first
    for i in range(len(spikes_M4) // TILE):
        weights = load(packed_PML, block + i * LANES)
        first = fused(weights, spikes_M4[i * TILE], first)
        second = fused(weights, spikes_M4[i * TILE + 1], second)
        third = fused(weights, spikes_M4[i * TILE + 2], third)
        fourth = fused(weights, spikes_M4[i * TILE + 3], fourth)
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
def forward(
    first,
    last,
    first_step,
    last_step,
    starts_BT1,
    neurons_E,
    packed_PML,
    bias_PL,
    constants,
    limited,
    running_B,
    states_BP4L,
    words_BTP,
):
    """Task (block, sample): run 64 neurons from ``first_step`` to ``last_step`` and write who fires.

    Args:
        starts_BT1, neurons_E: the input spikes.
        limited: whether ``max_spikes`` counts.
        running_B: samples that are still wanted; the others stay silent.
        states_BP4L: I, V, threshold and spikes left, carried from call to call.
    """
    samples = len(running_B)
    states = states_BP4L.reshape(-1)
    zero, inputs = np.float32(0), packed_PML.shape[1]
    spikes_M4, drives_4L = _aligned(inputs * TILE), _aligned(TILE * LANES)
    for task in range(first, last):
        p, b = task // samples, task % samples
        if not running_B[b]:
            continue
        state = (b * len(bias_PL) + p) * 4 * LANES
        current, potential, limit = load(states, state), load(states, state + LANES), load(states, state + 2 * LANES)
        bias = load(bias_PL, p * LANES)
        block, crowded = p * inputs * LANES, False
        for t in range(first_step, last_step):
            if t % TILE == 0:
                crowded = _crowded(t, last_step, starts_BT1, b, inputs)
                if crowded:
                    _spread_out(t, last_step, starts_BT1, neurons_E, b, spikes_M4)
                    _drive_tile(spikes_M4, packed_PML, block, drives_4L)
            if crowded:
                drive = load(drives_4L, (t % TILE) * LANES)
            else:
                drive = _drive(starts_BT1[b, t], starts_BT1[b, t + 1], neurons_E, packed_PML, block)
            current, potential = _neuron(drive, current, potential, bias, constants)
            word = at_least(potential, limit)
            current, potential = choose(word, zero, current), choose(word, zero, potential)
            if limited and word != 0:
                limit = choose(_used_up(word, states, state + 3 * LANES), np.float32(np.inf), limit)
            words_BTP[b, t, p] = word
        store(states, state, current)
        store(states, state + LANES, potential)
        store(states, state + 2 * LANES, limit)


# --- backward ---------------------------------------------------------------------------------------------------------


@kernel()
def live_steps(error_BTN, error_t_BTN, live_B):
    """The number of steps of each sample up to the last one with any error."""
    samples, steps, neurons = error_BTN.shape
    for b in range(samples):
        live_B[b] = 0
        for t in range(steps):
            for n in range(neurons):
                if error_BTN[b, t, n] != 0 or error_t_BTN[b, t, n] != 0:
                    live_B[b] = t + 1


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
def _time_above(n, at, stride, shift, packed_QNL):
    """δt̂ of one spike of neuron n: Σ_k w_kn · (the error of moving a unit spike in front of neuron k)."""
    products = spread(np.float32(0))
    for q in range(packed_QNL.shape[0]):
        weights = load(packed_QNL, (q * packed_QNL.shape[1] + n) * LANES)
        products = fused(weights, load(shift, at + q * stride), products)
    return total(products)


@kernel()
def backward(
    first,
    last,
    groups,
    starts_BT1,
    neurons_E,
    packed_PML,
    bias_PL,
    constants,
    rule,
    max_spikes,
    words_BTP,
    live_B,
    top,
    error_BTN,
    error_t_BTN,
    upper_BQUL,
    upper_shift_BQUL,
    upper_weight_KN,
    upper_packed_QNL,
    bottom,
    drive_BPUL,
    shift_BPUL,
    gradient_GNM,
    bias_gradient_GPL,
):
    """Task (block, group of samples): the gradients of 64 neurons, and their errors for the layer below.

    Args:
        max_spikes: 0 means no limit.
        live_B: later steps have no error.
        top: this is the output layer; its errors are ``error_BTN`` and ``error_t_BTN``. Otherwise they come from the
            layer above as ``upper_BQUL`` (β_I δI) and ``upper_shift_BQUL``, to be multiplied by its weights. U is T,
            rounded up to whole tiles.
        bottom: there is no layer below that needs ``drive_BPUL`` and ``shift_BPUL``.
        gradient_GNM, bias_gradient_GPL: the sums of each group, without β_b.
    """
    samples, steps, blocks = words_BTP.shape
    inputs = packed_PML.shape[1]
    neurons = error_BTN.shape[2] if top else upper_weight_KN.shape[1]
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
    upper_blocks = upper_packed_QNL.shape[0]
    weights_KL = _aligned(upper_blocks * LANES * LANES)
    tile_4L, drives_4L = _aligned(TILE * LANES), _aligned(TILE * LANES)
    spikes_M4 = _aligned(inputs * TILE)
    row_L = _aligned(LANES)
    left_L = _aligned(LANES)
    for task in range(first, last):
        p, g = task // groups, task % groups
        n0, width = p * LANES, min(LANES, neurons - p * LANES)
        block = p * inputs * LANES
        weights_KL[:] = 0
        for k in range(above):
            for j in range(width):
                weights_KL[k * LANES + j] = upper_weight_KN[k, n0 + j]
        gradient_ML[:] = 0
        store(tile_4L, 0, spread(zero))
        bias, bias_gradient = load(bias_PL, p * LANES), spread(zero)
        for b in range(g * samples // groups, (g + 1) * samples // groups):
            own, over = (b * blocks + p) * stride, b * upper_blocks * upper_stride
            # the membrane potential once more, to the last error
            current, potential, spent = spread(zero), spread(zero), np.uint64(0)
            store(left_L, 0, spread(np.float32(max_spikes)))
            live, crowded = live_B[b], False
            for t in range(live):
                if t % TILE == 0:
                    crowded = _crowded(t, live, starts_BT1, b, inputs)
                    if crowded:
                        _spread_out(t, live, starts_BT1, neurons_E, b, spikes_M4)
                        _drive_tile(spikes_M4, packed_PML, block, drives_4L)
                if crowded:
                    drive = load(drives_4L, (t % TILE) * LANES)
                else:
                    drive = _drive(starts_BT1[b, t], starts_BT1[b, t + 1], neurons_E, packed_PML, block)
                current, potential = _neuron(drive, current, potential, bias, constants)
                store(potential_TL, t * LANES, potential)
                if rnn:
                    store(current_TL, t * LANES, current)
                word = words_BTP[b, t, p]
                current, potential = choose(word, zero, current), choose(word, zero, potential)
                if max_spikes:
                    spent_T[t] = _used_up(word, left_L, 0)
                    spent |= spent_T[t]
            # from the last error back to the first step
            d_potential, d_current, d_bias = spread(zero), spread(zero), spread(zero)
            found = False
            _store_tile(drives_4L, d_bias, d_bias, d_bias, d_bias)
            for t in range(live - 1, -1, -1):
                potential, word = load(potential_TL, t * LANES), words_BTP[b, t, p]
                # the learning rule: from the errors of spikes and times to the error of the potential
                error, surrogate = spread(zero), spread(zero)
                if act and top:
                    found = False
                    for j in range(width):
                        tile_4L[j] = error_BTN[b, t, n0 + j]
                        found |= tile_4L[j] != 0
                elif act and (t % TILE == TILE - 1 or t == live - 1):
                    found = _spikes_above(
                        upper_blocks, over + (t - t % TILE) * LANES, upper_stride, upper, weights_KL, tile_4L
                    )
                if found or rnn:
                    surrogate = _surrogate(potential, constants.threshold, rule)
                if found:
                    error = surrogate * load(tile_4L, 0 if top else (t % TILE) * LANES) * rule.lambda_act
                if tim and word != 0:
                    store(row_L, 0, error)
                    rest, last_word = word, words_BTP[b, t - 1, p] if t > 0 else ~np.uint64(0)
                    while rest != 0:
                        j = lowest(rest)
                        if top:
                            error_t = error_t_BTN[b, t, n0 + j]
                        else:
                            error_t = _time_above(n0 + j, over + t * LANES, upper_stride, upper_shift, upper_packed_QNL)
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
                drive = d_current * constants.beta_i
                if not bottom:
                    ahead = fused(d_current, constants.alpha_i, d_potential * ahead_v)
                    store(drive_BPUL, own + t * LANES, drive)
                    store(shift_BPUL, own + t * LANES, (later - ahead) * half)
                # the gradient of the weights, where a spike came in
                if t % TILE == TILE - 1 or t == live - 1:
                    crowded = _crowded(t - t % TILE, live, starts_BT1, b, inputs)
                if not crowded:
                    for e in range(starts_BT1[b, t], starts_BT1[b, t + 1]):
                        at = neurons_E[e] * LANES
                        store(gradient_ML, at, load(gradient_ML, at) + drive)
                else:
                    store(drives_4L, (t % TILE) * LANES, drive)
                    if t % TILE == 0:
                        _spread_out(t, live, starts_BT1, neurons_E, b, spikes_M4)
                        _gradient_tile(spikes_M4, drives_4L, gradient_ML)
            bias_gradient = bias_gradient + d_bias
        _unpack(gradient_ML, width, gradient, (g * neurons + n0) * inputs, inputs)
        store(bias_gradient_GPL, (g * blocks + p) * LANES, bias_gradient)
