"""Backward: one task goes through the window of 64 neurons of a layer, for a group of samples.

Its parts: the membrane potential is run again to the last error (:func:`_replay`); then, back in time, the errors come
from above (:func:`_spikes_above`, :func:`_times_above`), the learning rule makes of them the error of the potential,
the reverse scan (:func:`_scan`) those of everything before, and the weights get their gradient where a spike came in
(:func:`_add_gradient`). Steps behind the last error are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .dense import (
    after_spikes,
    crowded_tile,
    drive_of,
    drive_tile,
    gradient_tile,
    next_state,
    spread_out,
    store_tile,
    used_up,
)
from .lanes import LANES, as_lanes, at_least, choose, claim, fused, load, lowest, magnitude, mask, spread, store, total
from .layout import TILE, Constants, aligned, list_spikes, unpack

POINTS = (
    "error_S",
    "error_t",
    "spikes",
    "potential",
    "slope",
    "current",
    "bias",
    "lost_potential",
    "lost_current",
    "later_error",
    "later_current_error",
    "count",
)
"""What a rule may ask for of every neuron (``app.rules.rule.QUANTITIES``), in the order in which kernels give it."""
BIAS_STEPS = 64
"""The gradient of the biases is summed over so many steps, then over such sums: one sum over thousands loses digits."""


class Errors(NamedTuple):
    """What comes down to a layer.

    Args:
        live_B: later steps have no error.
        cost_B: the error of each decision spike of the layer.
        spikes_TBN, times_TBN: of the output layer: dL/dS and dL/dt̂.
        upper_BQUL, upper_shift_BQUL: of the others: β_I δI of the layer above, and the errors of moving a unit spike in
            front of its neurons, to be multiplied by its weights. U is T, rounded up to whole tiles.
        upper_weight_KN: the weights of the layer above.
    """

    live_B: NDArray
    cost_B: NDArray
    spikes_TBN: NDArray
    times_TBN: NDArray
    upper_BQUL: NDArray
    upper_shift_BQUL: NDArray
    upper_weight_KN: NDArray


class Gradients(NamedTuple):
    """What the kernel writes; layer 0 has empty ``drive_BPUL`` and ``shift_BPUL``.

    Args:
        drive_BPUL, shift_BPUL: for the layer below, what ``upper_BQUL`` and ``upper_shift_BQUL`` are here.
        weight_GNM: the sums of each group.
        bias_GPL: the same, without β_b.
    """

    drive_BPUL: NDArray
    shift_BPUL: NDArray
    weight_GNM: NDArray
    bias_GPL: NDArray


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


# --- the parts --------------------------------------------------------------------------------------------------------


@kernel()
def _replay(live, starts_T1, spikes_E, words_TP, block, bias, all_weights, weights, constants, scratch):
    """The states of 64 neurons once more, to the last error; returns those that may not fire any more behind it."""
    current, potential, spent = spread(np.float32(0)), spread(np.float32(0)), np.uint64(0)
    crowded = False
    potential_TL, current_TL, spent_T, spikes_M4, drives_4L, _, _, _, _, left_L, _ = scratch
    inputs = len(spikes_M4) // TILE
    for t in range(live):
        if t % TILE == 0:
            crowded = crowded_tile(t, live, starts_T1, inputs)
            if crowded:
                spread_out(t, live, starts_T1, spikes_E, spikes_M4)
                drive_tile(spikes_M4, all_weights, weights, drives_4L)
        if crowded:
            drive = load(drives_4L, (t % TILE) * LANES)
        else:
            drive = drive_of(starts_T1[t], starts_T1[t + 1], spikes_E, all_weights, weights)
        current, potential = next_state(drive, current, potential, bias, constants)
        store(potential_TL, t * LANES, potential)
        if len(current_TL):
            store(current_TL, t * LANES, current)
        word = words_TP[t, block]
        current, potential = after_spikes(word, current, potential, constants)
        if len(spent_T):
            spent_T[t] = used_up(word, left_L, 0)
            spent |= spent_T[t]
    return spent


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
    store_tile(tile_4L, first, second, third, fourth)
    return found


@kernel(forceinline=True)
def _time_above(n, at, stride, shift, blocks, neurons, weights, start):
    """δt̂ of one spike of neuron n: Σ_k w_kn · (the error of moving a unit spike in front of neuron k)."""
    products = spread(np.float32(0))
    for q in range(blocks):
        row = load(weights, start + (q * neurons + n) * LANES)
        products = fused(row, load(shift, at + q * stride), products)
    return total(products)


@kernel(forceinline=True)
def _slope(t, word_before, potential, potential_TL, constants):
    """V[t] − V[t−1], with V[t−1] after its reset."""
    if t == 0:
        return potential
    before = load(potential_TL, (t - 1) * LANES)
    if constants.subtracts:
        return potential - choose(word_before, before - constants.threshold, before)
    return potential - choose(word_before, np.float32(0), before)


@kernel(forceinline=True)
def _scan(error, word, d_potential, d_current, constants, through_reset):
    """One step back in time; returns δV_dep[t], δI[t], and δI[t+1] as far as it goes back through this step."""
    zero = np.float32(0)
    if not through_reset:
        d_current = choose(word & constants.resets_current, zero, d_current)
        if not constants.subtracts:
            d_potential = choose(word, zero, d_potential)
    later = d_current
    d_potential = fused(d_potential, constants.alpha_v, error)
    return d_potential, fused(later, constants.alpha_i, d_potential * constants.beta_v), later


@kernel(forceinline=True)
def _add_gradient(t, live, drive, starts_T1, spikes_E, crowded, gradient_ML, spikes_M4, drives_4L):
    """Add the error of the drive to the gradients of the weights through which a spike came in."""
    if t % TILE == TILE - 1 or t == live - 1:
        crowded = crowded_tile(t - t % TILE, live, starts_T1, len(spikes_M4) // TILE)
    if not crowded:
        for e in range(starts_T1[t], starts_T1[t + 1]):
            at = spikes_E[e] * LANES
            store(gradient_ML, at, load(gradient_ML, at) + drive)
    else:
        store(drives_4L, (t % TILE) * LANES, drive)
        if t % TILE == 0:
            spread_out(t, live, starts_T1, spikes_E, spikes_M4)
            gradient_tile(spikes_M4, drives_4L, gradient_ML)
    return crowded


class _Scratch(NamedTuple):
    """Memory of one thread.

    Args:
        potential_TL, current_TL: the states in each step; the current only where the rule asks for it.
        spent_T: who fires for the last time in each step.
        spikes_M4, drives_4L: inputs and drives of a tile of steps.
        weights_KL: the weights of the layer above.
        tile_4L, row_L: errors of spikes in a tile of steps, errors of times in a step.
        bias_L: the gradient of the biases.
        left_L, count_L: how often each neuron may still fire, and fires in all.
    """

    potential_TL: Any
    current_TL: Any
    spent_T: Any
    spikes_M4: Any
    drives_4L: Any
    weights_KL: Any
    tile_4L: Any
    row_L: Any
    bias_L: Any
    left_L: Any
    count_L: Any


# --- the kernel of a rule ---------------------------------------------------------------------------------------------


def probe_kernel(point: Callable[..., Any], key: str) -> Callable[..., Any]:
    """A small kernel that only calls a rule's equation: what cannot be compiled shows here."""

    @kernel(key)
    def probe(of_rule, of_surrogate):
        one = np.float32(1)
        lanes = spread(one)
        neuron = Constants(one, one, one, one, one, np.uint64(0), False)
        word = mask(np.uint64(1))
        arguments = (lanes, lanes, word, lanes, lanes, lanes, lanes, lanes, lanes, lanes, lanes, lanes)
        return total(as_lanes(point(*arguments, neuron, of_rule, of_surrogate)))

    return probe


def backward_kernel(
    point: Callable[..., Any], key: str, asks_for: frozenset[str], through_reset: bool, skips: bool
) -> Callable[..., Any]:
    """The kernel ``backward`` for a learning rule.

    Args:
        point: δV of 64 neurons from :data:`POINTS`, the neuron's constants and the rule's settings.
        key: what tells this equation from all others, for the compiler's cache.
        asks_for: the names of the quantities that the equation needs.
        through_reset: errors pass through the resets.
        skips: without errors there is no δV.
    """
    act, tim = "error_S" in asks_for, "error_t" in asks_for
    later = bool(asks_for & {"later_error", "later_current_error"})
    wants_slope, wants_count = "slope" in asks_for, "count" in asks_for
    wants_current = bool(asks_for & {"current", "lost_current"})
    skips = skips and not later

    structure = str((sorted(asks_for), through_reset, skips))

    @kernel(key, structure)
    def walk(
        b,
        p,
        stack,
        depth,
        starts_T1,
        spikes_E,
        words_TP,
        window,
        constants,
        of_rule,
        of_surrogate,
        errors,
        found,
        gradient_ML,
        scratch,
    ):
        """From the last error of sample b back to the first step, for the neurons of block p.

        A function of its own: in the loop over samples the compiler would count references to arrays in every step.

        Args:
            b, p: sample and block of the layer.
            stack, depth: the layers, and which one.
            starts_T1, spikes_E, words_TP: what came in, and who fired.
            window: the steps up to the last error and up to the decision, the neurons that may not fire any more at
                the end, and how often one may fire (0 means no limit).
            constants, of_rule, of_surrogate: the neuron's constants, the settings of the rule and of its surrogate.
            errors, found: what comes from above, and what is written.
            gradient_ML: to which the gradients of the weights are added.
            scratch: with the states.
        """
        live, until, spent, max_spikes = window
        _, cost_B, spikes_TBN, times_TBN, upper_BQUL, upper_shift_BQUL, _ = errors
        drive_BPUL, shift_BPUL, _, _ = found
        potential_TL, current_TL, spent_T, spikes_M4, drives_4L, weights_KL, tile_4L, row_L, bias_L, _, count_L = (
            scratch
        )
        upper, upper_shift, all_weights = upper_BQUL.reshape(-1), upper_shift_BQUL.reshape(-1), stack.weights
        top, bottom = depth == len(stack.sizes) - 2, depth == 0
        neurons, block = stack.sizes[depth + 1], stack.blocks[depth] + p
        n0, width = p * LANES, min(LANES, neurons - p * LANES)
        stride, upper_stride = drive_BPUL.shape[2] * LANES, upper_BQUL.shape[2] * LANES
        upper_blocks, upper_start = upper_BQUL.shape[1], 0 if top else stack.starts[depth + 1]
        own, over = (b * drive_BPUL.shape[1] + p) * stride, b * upper_blocks * upper_stride
        zero, half = np.float32(0), constants.beta_i / np.float32(2)
        ahead_v = constants.beta_v * constants.alpha_v
        nobody, nothing = mask(np.uint64(0)), spread(zero)
        bias = load(stack.biases, block * LANES)
        d_potential, d_current, d_bias = nothing, nothing, nothing
        has_error, crowded = False, False
        store_tile(tile_4L, nothing, nothing, nothing, nothing)
        store_tile(drives_4L, nothing, nothing, nothing, nothing)
        for t in range(live - 1, -1, -1):
            potential, word = load(potential_TL, t * LANES), words_TP[t, block]
            # the errors from above
            if act and top:
                has_error = False
                for j in range(width):
                    tile_4L[j] = spikes_TBN[t, b, n0 + j]
                    has_error |= tile_4L[j] != 0
            elif act and (t % TILE == TILE - 1 or t == live - 1):
                tile = over + (t - t % TILE) * LANES
                has_error = _spikes_above(upper_blocks, tile, upper_stride, upper, weights_KL, tile_4L)
            cost = cost_B[b] if act and t < until else zero
            # the learning rule
            error = nothing
            fires = tim and word != 0
            if fires or has_error or cost != 0 or not skips:
                error_S = load(tile_4L, 0 if top else (t % TILE) * LANES) + cost if act else nothing
                current = load(current_TL, t * LANES) if wants_current else nothing
                lost_v = spread(constants.threshold) if constants.subtracts else potential
                lost_i = current if constants.resets_current else nothing
                count = load(count_L, 0) if wants_count else nothing
                slope = nothing
                if wants_slope and (word != 0 or not skips):
                    before = words_TP[t - 1, block] if t > 0 else np.uint64(0)
                    slope = _slope(t, before, potential, potential_TL, constants)
                if word != 0:
                    if tim:
                        store(row_L, 0, nothing)
                        rest = word
                        while rest != 0:
                            j = lowest(rest)
                            if top:
                                row_L[j] = times_TBN[t, b, n0 + j]
                            else:
                                row_L[j] = _time_above(
                                    n0 + j,
                                    over + t * LANES,
                                    upper_stride,
                                    upper_shift,
                                    upper_blocks,
                                    neurons,
                                    all_weights,
                                    upper_start,
                                )
                            rest &= rest - np.uint64(1)
                    error_t = load(row_L, 0) if tim else nothing
                    error = as_lanes(
                        point(
                            error_S,
                            error_t,
                            mask(word),
                            potential,
                            slope,
                            current,
                            bias,
                            lost_v,
                            lost_i,
                            d_potential,
                            d_current,
                            count,
                            constants,
                            of_rule,
                            of_surrogate,
                        )
                    )
                else:  # what the equation does with spikes is compiled away here
                    error = as_lanes(
                        point(
                            error_S,
                            nothing,
                            nobody,
                            potential,
                            slope,
                            current,
                            bias,
                            lost_v,
                            lost_i,
                            d_potential,
                            d_current,
                            count,
                            constants,
                            of_rule,
                            of_surrogate,
                        )
                    )
            if max_spikes:
                spent &= ~spent_T[t]
                error = choose(spent, zero, error)
            d_potential, d_current, later_current = _scan(error, word, d_potential, d_current, constants, through_reset)
            d_bias = d_bias + d_potential
            if t % BIAS_STEPS == 0:
                store(bias_L, 0, load(bias_L, 0) + d_bias)
                d_bias = nothing
            drive = d_current * constants.beta_i
            if not bottom:
                ahead = fused(d_current, constants.alpha_i, d_potential * ahead_v)
                store(drive_BPUL, own + t * LANES, drive)
                store(shift_BPUL, own + t * LANES, (later_current - ahead) * half)
            crowded = _add_gradient(t, live, drive, starts_T1, spikes_E, crowded, gradient_ML, spikes_M4, drives_4L)

    @kernel(key, structure)
    def backward(
        counter,
        tasks,
        groups,
        neurons_E,
        stack,
        depth,
        constants,
        of_rule,
        of_surrogate,
        max_spikes,
        record,
        errors,
        found,
    ):
        """Task (block, group of samples): the gradients of 64 neurons of a layer, and their errors for the layer below.

        Args:
            groups: how many groups of samples there are.
            neurons_E: the input events.
            depth: which layer.
            constants, of_rule, of_surrogate: the neuron's constants, the settings of the rule and of its surrogate.
            max_spikes: 0 means no limit.
            record, errors: what the forward run left behind, and what comes from above.
            found: what is written.
        """
        samples, steps = record.words_BTP.shape[:2]
        block0, blocks = stack.blocks[depth], stack.blocks[depth + 1] - stack.blocks[depth]
        inputs, neurons = stack.sizes[depth], stack.sizes[depth + 1]
        upper_weight_KN, upper_blocks = errors.upper_weight_KN, errors.upper_BQUL.shape[1]
        gradient, gradient_ML = found.weight_GNM.reshape(-1), aligned(inputs * LANES)
        listed_T1, listed_E = np.empty(steps + 1, np.int64), np.empty(steps * inputs if depth else 0, np.int32)
        scratch = _Scratch(
            aligned(steps * LANES),
            aligned(steps * LANES if wants_current else 0),
            np.zeros(steps if max_spikes else 0, np.uint64),
            aligned(inputs * TILE),
            aligned(TILE * LANES),
            aligned(upper_blocks * LANES * LANES),
            aligned(TILE * LANES),
            aligned(LANES),
            aligned(LANES),
            aligned(LANES),
            aligned(LANES),
        )
        weights_KL, bias_L, left_L, count_L = scratch.weights_KL, scratch.bias_L, scratch.left_L, scratch.count_L
        nothing = spread(np.float32(0))
        task = claim(counter)
        while task < tasks:
            p, g = task // groups, task % groups
            n0, width = p * LANES, min(LANES, neurons - p * LANES)
            block = block0 + p
            weights = stack.starts[depth] + p * inputs * LANES
            bias = load(stack.biases, block * LANES)
            weights_KL[:] = 0
            for k in range(len(upper_weight_KN)):
                for j in range(width):
                    weights_KL[k * LANES + j] = upper_weight_KN[k, n0 + j]
            gradient_ML[:] = 0
            store(bias_L, 0, nothing)
            for b in range(g * samples // groups, (g + 1) * samples // groups):
                live = errors.live_B[b]
                starts_T1, spikes_E, words_TP = record.starts_BT1[b], neurons_E, record.words_BTP[b]
                if depth:
                    list_spikes(words_TP, stack.blocks[depth - 1], block0, 0, live, listed_T1, listed_E)
                    starts_T1, spikes_E = listed_T1, listed_E
                store(left_L, 0, spread(np.float32(max_spikes)))
                spent = _replay(
                    live, starts_T1, spikes_E, words_TP, block, bias, stack.weights, weights, constants, scratch
                )
                if wants_count:
                    first = stack.sizes[1 : depth + 1].sum() + n0
                    store(count_L, 0, nothing)
                    for j in range(width):
                        count_L[j] = record.counts_BN[b, first + j]
                walk(
                    b,
                    p,
                    stack,
                    depth,
                    starts_T1,
                    spikes_E,
                    words_TP,
                    (live, record.until_B[b], spent, max_spikes),
                    constants,
                    of_rule,
                    of_surrogate,
                    errors,
                    found,
                    gradient_ML,
                    scratch,
                )
            unpack(gradient_ML, width, gradient, (g * neurons + n0) * inputs, inputs)
            store(found.bias_GPL, (g * blocks + p) * LANES, load(bias_L, 0))
            task = claim(counter)

    return backward
