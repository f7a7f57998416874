"""Backward: the gradients of a layer's blocks, one sample after the other.

For a block of 64 neurons and a sample, the errors come from above (``app.kernels.above``), the membrane potential is
run again to the last error (:func:`_replay`), and then, back in time, the learning rule makes of the errors that of the
potential, the reverse scan (:func:`_scan`) those of everything before, and the weights get their gradient where a spike
came in (:func:`_add_gradient`). Steps behind the last error are left out.

In a fully connected layer a task is a block and a group of samples, for the weights of a block are many. In one that
hears itself a task is a group of samples, and its blocks go back together, step by step: their errors meet in the step
before. In a stack of images a task is a sample and all its layers, for the errors between images are many: they never
leave the task. It goes through a layer row by row of the image: what comes in to a row (``app.kernels.images``), its
blocks, the gradients of the weights, and what the row hands down (``app.kernels.below``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import above
from .below import push
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
from .images import add_drives, add_gradients, add_times, clear_drives, clear_patch, place
from .lanes import LANES, as_lanes, choose, claim, fetch, fused, load, mask, spread, store, total
from .layout import BIAS_STEPS, TILE, Constants, aligned, unpack
from .routes import Heard, cells_of, heard_by, with_own

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
FLUSH = 16
"""The gradient of a weight is summed until every input has come in so often on average, then over such sums."""


class Errors(NamedTuple):
    """What comes down to a layer.

    Args:
        live_B: later steps have no error.
        costs_LB: the error of each decision spike of every layer.
        spikes_TBN, times_TBN: of the output layer: dL/dS and dL/dt̂.
        upper_BQUL, upper_shift_BQUL: of the others: β_I δI of the layer above, and the errors of moving a unit spike in
            front of its neurons, to be multiplied by its weights. U is T, rounded up to whole tiles.
        upper_weight_KN: the weights of the layer above.
    """

    live_B: NDArray
    costs_LB: NDArray
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


@kernel(forceinline=True)
def _step_again(t, drive, current, potential, bias, constants, kept):
    """One step of a block of which it is known who fires; keeps V and I, and returns them behind the reset."""
    words_TP, block, potential_TL, current_TL = kept
    current, potential = next_state(drive, current, potential, bias, constants)
    store(potential_TL, t * LANES, potential)
    if len(current_TL):
        store(current_TL, t * LANES, current)
    word = words_TP[t, block]
    if word != 0:
        current, potential = after_spikes(word, current, potential, constants)
    return current, potential


@kernel()
def _replay(live, heard, words_TP, block, bias, all_weights, weights, constants, scratch):
    """The states of 64 neurons once more, to the last error."""
    starts_T1, rows_E, heights_E = heard
    potential_TL, current_TL, _, _, _, _, spikes_R4, drives_4L, _, _, _, _ = scratch
    rows, current, potential = len(spikes_R4) // TILE, spread(np.float32(0)), spread(np.float32(0))
    kept = (words_TP, block, potential_TL, current_TL)
    for tile in range(0, live, TILE):
        last = min(tile + TILE, live)
        if starts_T1[tile] == starts_T1[last]:
            for t in range(tile, last):
                current, potential = _step_again(t, None, current, potential, bias, constants, kept)
            continue
        crowded = crowded_tile(tile, live, starts_T1, rows)
        if crowded:
            spread_out(tile, live, starts_T1, rows_E, heights_E, spikes_R4)
            drive_tile(spikes_R4, all_weights, weights, drives_4L)
        for t in range(tile, last):
            if crowded:
                drive = load(drives_4L, (t - tile) * LANES)
            else:
                drive = drive_of(starts_T1[t], starts_T1[t + 1], rows_E, heights_E, all_weights, weights)
            current, potential = _step_again(t, drive, current, potential, bias, constants, kept)


@kernel()
def _replay_patch(live, drives_TW, pitch, own, words_TP, block, bias, constants, scratch):
    """The same for a patch of an image, whose lanes begin at ``own`` in its row of drives."""
    potential_TL, current_TL = scratch.potential_TL, scratch.current_TL
    current, potential = spread(np.float32(0)), spread(np.float32(0))
    kept = (words_TP, block, potential_TL, current_TL)
    for t in range(live):
        drive = load(drives_TW, own + t * pitch)
        current, potential = _step_again(t, drive, current, potential, bias, constants, kept)


@kernel()
def _spent(live, words_TP, block, max_spikes, scratch):
    """Fill in which neurons fire for the last time in each step; returns those that did in any."""
    spent_T, left_L, spent = scratch.spent_T, scratch.left_L, np.uint64(0)
    store(left_L, 0, spread(np.float32(max_spikes)))
    for t in range(live):
        spent_T[t] = used_up(words_TP[t, block], left_L, 0)
        spent |= spent_T[t]
    return spent


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
def _add_gradient(t, live, drive, starts_T1, rows_E, heights_E, gradient_RL, own, spikes_R4, drives_4L):
    """Add the error of the drive to the gradients of the weights through which a spike came in."""
    if crowded_tile(t - t % TILE, live, starts_T1, len(spikes_R4) // TILE):
        store(drives_4L, (t % TILE) * LANES, drive)
        if t % TILE == 0:
            spread_out(t, live, starts_T1, rows_E, heights_E, spikes_R4)
            gradient_tile(spikes_R4, drives_4L, gradient_RL, own)
    elif len(heights_E):
        for e in range(starts_T1[t], starts_T1[t + 1]):
            at = own + fetch(rows_E, e) * LANES
            store(gradient_RL, at, fused(drive, fetch(heights_E, e), load(gradient_RL, at)))
    else:
        for e in range(starts_T1[t], starts_T1[t + 1]):
            at = own + fetch(rows_E, e) * LANES
            store(gradient_RL, at, load(gradient_RL, at) + drive)


@kernel()
def _flush(part_RL, whole_RL):
    """Add a part of a sum to the whole, and begin a new part."""
    for i in range(0, len(part_RL), LANES):
        store(whole_RL, i, load(whole_RL, i) + load(part_RL, i))
        store(part_RL, i, spread(np.float32(0)))


class _Scratch(NamedTuple):
    """Memory of one thread, for one sample and one block, or several blocks one behind the other.

    ``states_3L`` and ``spent_1`` are those of the scan: δV_dep, δI, the sum of δV_dep that is not added yet, and the
    lanes that may not fire any more.
    """

    potential_TL: Any
    current_TL: Any
    spent_T: Any
    errors_TL: Any
    times_TL: Any
    busy_T: Any
    spikes_R4: Any
    drives_4L: Any
    count_L: Any
    left_L: Any
    states_3L: Any
    spent_1: Any


@kernel(inline="always")
def _part(values, p, blocks):
    size = len(values) // blocks
    return values[p * size : (p + 1) * size]


@kernel(inline="always")
def _of_block(scratch, p, blocks):
    """The memory of block p of several; that for the tiles of spikes is common to all."""
    return _Scratch(
        _part(scratch.potential_TL, p, blocks),
        _part(scratch.current_TL, p, blocks),
        _part(scratch.spent_T, p, blocks),
        _part(scratch.errors_TL, p, blocks),
        _part(scratch.times_TL, p, blocks),
        _part(scratch.busy_T, p, blocks),
        scratch.spikes_R4,
        _part(scratch.drives_4L, p, blocks),
        _part(scratch.count_L, p, blocks),
        _part(scratch.left_L, p, blocks),
        _part(scratch.states_3L, p, blocks),
        _part(scratch.spent_1, p, blocks),
    )


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


class Kernels(NamedTuple):
    """The kernels of a rule: for a fully connected layer, for one that hears itself, and for the images in front."""

    layer: Callable[..., Any]
    loop: Callable[..., Any]
    images: Callable[..., Any]


@kernel(allocates=True)
def _flow(live, wiring, k):
    """Room for where the errors of layer k's cells go; empty without maximum pooling."""
    needed = k > 0 and wiring.layers[k].has_max
    return np.empty((live, wiring.layers[k - 1].blocks) if needed else (0, 0), np.uint64)


@kernel(allocates=True)
def _places(wiring, k, width):
    """Where the row of each lane of layer k begins in the map of layer k + 1's cells; behind all cells for none."""
    over = wiring.layers[k + 1]
    places_N = np.empty(wiring.layers[k].blocks * LANES, np.int64)
    for n in range(len(places_N)):
        cell = wiring.cell_of[over.first_cell_of + n]
        places_N[n] = (cell if cell >= 0 else over.cells) * width
    return places_N


@kernel()
def _widest(wiring, front):
    """The length of the longest row of an image."""
    most = 0
    for k in range(front):
        most = max(most, wiring.layers[k].pitch)
    return most


def backward_kernels(
    point: Callable[..., Any], key: str, asks_for: frozenset[str], through_reset: bool, skips: bool
) -> Kernels:
    """The kernels for a learning rule.

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
    of_this_rule = (key, str((sorted(asks_for), through_reset, skips)))

    @kernel(*of_this_rule, allocates=True)
    def scratch_of(steps, rows, max_spikes, blocks):
        """Memory for samples of so many steps and so many blocks of so many rows."""
        columns = -(-steps // LANES) * LANES * blocks
        return _Scratch(
            aligned(columns * LANES),
            aligned(columns * LANES if wants_current else 0),
            np.zeros(columns if max_spikes else 0, np.uint64),
            aligned(columns * LANES),
            aligned(columns * LANES if tim else 0),
            np.zeros(columns, np.bool_),
            aligned(rows * TILE),
            aligned(TILE * LANES * blocks),
            aligned(LANES * blocks),
            aligned(LANES * blocks),
            aligned(3 * LANES * blocks),
            np.zeros(blocks, np.uint64),
        )

    @kernel(*of_this_rule)
    def again(b, at, stack, window, heard, row, constants, record, scratch):
        """A block's way to the last error of a sample, from where :func:`back` goes; see there."""
        k, block, weights, bias_at = at
        live, _, max_spikes = window
        drives_TW, own, pitch = row
        _, _, _, _, _, _, _, drives_4L, count_L, _, states_3L, spent_1 = scratch
        counts_N, wiring, nothing = record.counts_BN[b], stack.wiring, spread(np.float32(0))
        words_TP, bias, present = record.words_BTP[b], load(stack.biases, bias_at), wiring.present[block]
        if len(drives_TW):
            _replay_patch(live, drives_TW, pitch, own, words_TP, block, bias, constants, scratch)
        else:
            _replay(live, heard, words_TP, block, bias, stack.weights, weights, constants, scratch)
        spent_1[0] = _spent(live, words_TP, block, max_spikes, scratch) if max_spikes else np.uint64(0)
        if wants_count:
            store(count_L, 0, nothing)
            for j in range(LANES):
                if (present >> np.uint64(j)) & np.uint64(1):
                    count_L[j] = counts_N[wiring.layers[k].first_neuron + wiring.neuron_of[block * LANES + j]]
        for i in range(3):
            store(states_3L, i * LANES, nothing)
        store_tile(drives_4L, nothing, nothing, nothing, nothing)

    @kernel(*of_this_rule)
    def back(b, span, at, stack, window, heard, is_patch, how, record, scratch, down, sums):
        """A block's way back through a span of steps, on from where it was.

        A function of its own: in the loop over samples the compiler would count references to arrays in every step.

        Args:
            b: the sample.
            span: the first step, and the one behind the last.
            at: the block's layer and its number; where its weights (of a patch: none) and its biases start.
            window: the steps up to the last error, the error of each decision spike, and how often a neuron may fire
                (0 means no limit).
            heard: what a fully connected layer hears; nothing for a patch of an image.
            is_patch: whether it is one.
            how: the neuron's constants, the settings of the rule and of its surrogate.
            record: what the forward run left behind.
            scratch: with the errors of this block's spikes.
            down: where the errors of the drives and of moving spikes go, unless empty; where the block's own begin,
                and from one step to the next.
            sums: the gradients of weights and biases, and where the block's own begin.
        """
        _, block, _, bias_at = at
        live, cost, max_spikes = window
        constants, of_rule, of_surrogate = how
        starts_T1, rows_E, heights_E = heard
        potential_TL, current_TL, spent_T, errors_TL, times_TL, busy_T, spikes_R4, drives_4L = scratch[:8]
        count_L, states_3L, spent_1 = scratch.count_L, scratch.states_3L, scratch.spent_1
        drive_TL, shift_TL, own, pitch = down
        gradient_RL, gradient_at, bias_L, bias_sum_at = sums
        words_TP, until = record.words_BTP[b], record.until_B[b]
        bias, wiring = load(stack.biases, bias_at), stack.wiring
        zero, half = np.float32(0), constants.beta_i / np.float32(2)
        ahead_v = constants.beta_v * constants.alpha_v
        nobody, nothing = mask(np.uint64(0)), spread(zero)
        present, has_below, spent = wiring.present[block], len(drive_TL) > 0, spent_1[0]
        d_potential, d_current, d_bias = load(states_3L, 0), load(states_3L, LANES), load(states_3L, 2 * LANES)
        for t in range(span[1] - 1, span[0] - 1, -1):
            potential, word = load(potential_TL, t * LANES), words_TP[t, block]
            paid = cost if act and t < until else zero
            error = nothing
            if (tim and word != 0) or (act and busy_T[t]) or paid != 0 or not skips:
                error_S = load(errors_TL, t * LANES) + paid if act else nothing
                current = load(current_TL, t * LANES) if wants_current else nothing
                lost_v = spread(constants.threshold) if constants.subtracts else potential
                lost_i = choose(constants.resets_current, current, zero)
                count = load(count_L, 0) if wants_count else nothing
                slope = nothing
                if wants_slope and (word != 0 or not skips):
                    before = words_TP[t - 1, block] if t > 0 else np.uint64(0)
                    slope = _slope(t, before, potential, potential_TL, constants)
                if word != 0:
                    error_t = load(times_TL, t * LANES) if tim else nothing
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
                if paid != 0 or not skips:  # lanes without a neuron share the weights of those with one
                    error = choose(present, error, zero)
            if max_spikes:
                spent &= ~spent_T[t]
                error = choose(spent, zero, error)
            d_potential, d_current, later_current = _scan(error, word, d_potential, d_current, constants, through_reset)
            d_bias = d_bias + d_potential
            if t % BIAS_STEPS == 0:
                store(bias_L, bias_sum_at, load(bias_L, bias_sum_at) + d_bias)
                d_bias = nothing
            drive = d_current * constants.beta_i
            if has_below:
                store(drive_TL, own + t * pitch, drive)
            if has_below and len(shift_TL):
                ahead = fused(d_current, constants.alpha_i, d_potential * ahead_v)
                store(shift_TL, own + t * pitch, (later_current - ahead) * half)
            if not is_patch:
                events = starts_T1, rows_E, heights_E
                _add_gradient(t, live, drive, *events, gradient_RL, gradient_at, spikes_R4, drives_4L)
        store(states_3L, 0, d_potential)
        store(states_3L, LANES, d_current)
        store(states_3L, 2 * LANES, d_bias)
        spent_1[0] = spent

    @kernel(*of_this_rule)
    def walk(b, at, stack, window, heard, drives_TW, how, record, scratch, down, sums):
        """A block's way through the window of a sample and back; see :func:`back`.

        Args:
            drives_TW: what comes in to the row of a patch of an image; empty for a fully connected layer.
        """
        again(b, at, stack, window, heard, (drives_TW, down[2], down[3]), how[0], record, scratch)
        back(b, (0, window[0]), at, stack, window, heard, len(drives_TW) > 0, how, record, scratch, down, sums)

    @kernel(*of_this_rule)
    def walk_loop(b, depth, stack, window, heard, none_TW, how, record, scratch, own_PKL, down, part_RL, bias_L):
        """The way of all blocks of a layer that hears itself: back step by step, for there their errors meet.

        Args:
            b, stack, window, heard, how, record: as for :func:`back`.
            depth: which layer.
            none_TW: nothing, for it has no rows of images.
            scratch: for all blocks.
            own_PKL: its weights (:func:`app.kernels.above.own_weights`).
            down: where the errors for the layer below go, those of the first block, and how far those of the next are.
            part_RL, bias_L: the gradients of the weights and biases of all blocks.
        """
        drives, shifts, at, stride = down
        layer, live, words_TP, pitch = stack.wiring.layers[depth], window[0], record.words_BTP[b], np.int64(LANES)
        blocks, rows, block0 = layer.groups, layer.rows, layer.first_block
        for p in range(blocks):
            place = (depth, block0 + p, layer.weights + p * rows * LANES, (layer.biases + p) * LANES)
            again(b, place, stack, window, heard, (none_TW, at, pitch), how[0], record, _of_block(scratch, p, blocks))
        for t in range(live - 1, -1, -1):
            for p in range(blocks):
                mine = _of_block(scratch, p, blocks)
                if act and t + 1 < live:
                    above.add_own_errors(t, p, drives, at, stride, own_PKL, blocks, mine.errors_TL, mine.busy_T)
                if tim and t + 1 < live:
                    word = words_TP[t, block0 + p]
                    above.add_own_times(t, p, word, shifts, at, stride, stack, depth, mine.times_TL)
                place = (depth, block0 + p, layer.weights + p * rows * LANES, (layer.biases + p) * LANES)
                own, sums = (drives, shifts, at + p * stride, pitch), (part_RL, p * rows * LANES, bias_L, p * LANES)
                back(b, (t, t + 1), place, stack, window, heard, False, how, record, mine, own, sums)

    @kernel(*of_this_rule, allocates=True)
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
            depth: which layer, a fully connected one.
            constants, of_rule, of_surrogate: the neuron's constants, the settings of the rule and of its surrogate.
            max_spikes: 0 means no limit.
            record, errors: what the forward run left behind, and what comes from above.
            found: what is written.
        """
        samples, steps = record.words_BTP.shape[:2]
        layers, wiring = record.totals_BLT.shape[1], stack.wiring
        layer = wiring.layers[depth]
        top = depth == layers - 1
        block0, blocks = layer.first_block, layer.groups
        inputs, neurons = layer.rows, layer.neurons
        kept = 0 if top else errors.upper_weight_KN.shape[0]
        stride, upper_blocks = found.drive_BPUL.shape[2] * LANES, errors.upper_BQUL.shape[1]
        drives, shifts = found.drive_BPUL.reshape(-1), found.shift_BPUL.reshape(-1)
        gradient, gradient_RL, part_RL = found.weight_GNM.reshape(-1), aligned(inputs * LANES), aligned(inputs * LANES)
        weights_KL = aligned(upper_blocks * LANES * LANES)
        none_TW = aligned(0)
        bias_L, scratch, first = aligned(LANES), scratch_of(steps, inputs, max_spikes, 1), np.int64(0)
        task = claim(counter)
        while task < tasks:
            p, g = task // groups, task % groups
            n0, width = p * LANES, min(LANES, neurons - p * LANES)
            block = block0 + p
            weights = layer.weights + p * inputs * LANES
            bias_at = (layer.biases + p) * LANES
            weights_KL[:] = 0
            for k in range(kept):
                for j in range(width):
                    weights_KL[k * LANES + j] = errors.upper_weight_KN[k, n0 + j]
            gradient_RL[:] = 0
            part_RL[:] = 0
            store(bias_L, 0, spread(np.float32(0)))
            entries = 0
            for b in range(g * samples // groups, (g + 1) * samples // groups):
                live, words_TP = errors.live_B[b], record.words_BTP[b]
                inputs_T1, totals_LT = record.starts_BT1[b], record.totals_BLT[b]
                heard = heard_by(inputs_T1, neurons_E, words_TP, totals_LT, first, live, wiring, depth)
                if act and top:
                    above.errors_at_top(b, n0, width, live, errors.spikes_TBN, scratch.errors_TL, scratch.busy_T)
                elif act:
                    above.errors_from_above(
                        b, p, live, stack, depth, errors.upper_BQUL, weights_KL, scratch.errors_TL, scratch.busy_T
                    )
                if tim:
                    shift_BQUL = errors.upper_shift_BQUL
                    above.times_of_block(
                        b, n0, live, words_TP, block, stack, depth, errors.times_TBN, shift_BQUL, scratch.times_TL
                    )
                walk(
                    b,
                    (depth, block, weights, bias_at),
                    stack,
                    (live, errors.costs_LB[depth, b], max_spikes),
                    heard,
                    none_TW,
                    (constants, of_rule, of_surrogate),
                    record,
                    scratch,
                    (drives, shifts, (b * blocks + p) * stride, np.int64(LANES)),
                    (part_RL, first, bias_L, first),
                )
                entries += heard.starts_T1[live] - heard.starts_T1[0]
                if entries > FLUSH * inputs:
                    _flush(part_RL, gradient_RL)
                    entries = 0
            _flush(part_RL, gradient_RL)
            unpack(gradient_RL, width, gradient, (g * neurons + n0) * inputs, inputs)
            store(found.bias_GPL, (g * blocks + p) * LANES, load(bias_L, 0))
            task = claim(counter)

    @kernel(*of_this_rule, allocates=True)
    def backward_loop(
        counter,
        tasks,
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
        """Task g: the gradients of a layer that hears itself, from a group of samples; see :func:`backward`.

        ``found`` has room for the errors of the layer below also where there is none: the layer hears them itself.
        """
        samples, steps = record.words_BTP.shape[:2]
        layer, top = stack.wiring.layers[depth], depth == record.totals_BLT.shape[1] - 1
        blocks, rows, neurons, block0 = layer.groups, layer.rows, layer.neurons, layer.first_block
        kept, upper = 0 if top else errors.upper_weight_KN.shape[0], errors.upper_BQUL.shape[1] * LANES * LANES
        stride = found.drive_BPUL.shape[2] * LANES
        drives, shifts = found.drive_BPUL.reshape(-1), found.shift_BPUL.reshape(-1)
        gradient, size = found.weight_GNM.reshape(-1), rows * LANES
        gradient_RL, part_RL, bias_L = aligned(blocks * size), aligned(blocks * size), aligned(blocks * LANES)
        scratch, first = scratch_of(steps, rows, max_spikes, blocks), np.int64(0)
        own_PKL, weights_PKL, none_TW = above.own_weights(stack, depth), aligned(blocks * upper), aligned(0)
        weights_PKL[:] = 0
        for n in range(neurons):
            for k in range(kept):
                weights_PKL[n // LANES * upper + k * LANES + n % LANES] = errors.upper_weight_KN[k, n]
        g = claim(counter)
        while g < tasks:
            gradient_RL[:] = 0
            part_RL[:] = 0
            bias_L[:] = 0
            entries = 0
            for b in range(g * samples // tasks, (g + 1) * samples // tasks):
                live, words_TP = errors.live_B[b], record.words_BTP[b]
                inputs_T1, totals_LT = record.starts_BT1[b], record.totals_BLT[b]
                below = heard_by(inputs_T1, neurons_E, words_TP, totals_LT, first, live, stack.wiring, depth)
                heard = with_own(below, words_TP, totals_LT, live, stack.wiring, depth)
                for p in range(blocks):
                    mine, n0 = _of_block(scratch, p, blocks), p * LANES
                    width = min(LANES, neurons - n0)
                    if act and top:
                        above.errors_at_top(b, n0, width, live, errors.spikes_TBN, mine.errors_TL, mine.busy_T)
                    elif act:
                        weights_KL = weights_PKL[p * upper : (p + 1) * upper]
                        above.errors_from_above(
                            b, p, live, stack, depth, errors.upper_BQUL, weights_KL, mine.errors_TL, mine.busy_T
                        )
                    if tim:
                        shift_BQUL = errors.upper_shift_BQUL
                        above.times_of_block(
                            b, n0, live, words_TP, block0 + p, stack, depth, errors.times_TBN, shift_BQUL, mine.times_TL
                        )
                walk_loop(
                    b,
                    depth,
                    stack,
                    (live, errors.costs_LB[depth, b], max_spikes),
                    heard,
                    none_TW,
                    (constants, of_rule, of_surrogate),
                    record,
                    scratch,
                    own_PKL,
                    (drives, shifts, b * blocks * stride, stride),
                    part_RL,
                    bias_L,
                )
                entries += heard.starts_T1[live]
                if entries > FLUSH * rows:
                    _flush(part_RL, gradient_RL)
                    entries = 0
            _flush(part_RL, gradient_RL)
            for p in range(blocks):
                at, width = (g * neurons + p * LANES) * rows, min(LANES, neurons - p * LANES)
                unpack(gradient_RL[p * size : (p + 1) * size], width, gradient, at, rows)
                store(found.bias_GPL, (g * blocks + p) * LANES, load(bias_L, p * LANES))
            g = claim(counter)

    @kernel(*of_this_rule, allocates=True)
    def backward_images(
        counter,
        tasks,
        neurons_E,
        stack,
        front,
        constants,
        of_rule,
        of_surrogate,
        max_spikes,
        record,
        errors,
        points_W,
        weights_BW,
        biases_BW,
    ):
        """Task b: the gradients of all convolutional layers from one sample.

        Args:
            front: how many layers these are; a fully connected one is behind them.
            points_W: the weights of all layers as :func:`app.kernels.below.push` takes them.
            weights_BW, biases_BW: what is written: the gradients in lanes, of all layers, without β_b.
        """
        steps, wiring = record.words_BTP.shape[1], stack.wiring
        scratch = scratch_of(steps, 0, max_spikes, 1)
        room = -(-steps // LANES) * LANES * _widest(wiring, front)
        drives_TW, errors_TW, shifts_TW = aligned(room), aligned(room), aligned(room if tim else 0)
        none_TW, panels_WT, first = aligned(0), aligned((_widest(wiring, front) + 1) * LANES), np.int64(0)
        unheard = Heard(np.zeros(steps + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
        part = aligned(wiring.layers[front].weights)
        part_bias = aligned(wiring.layers[front].biases * LANES)
        b = claim(counter)
        while b < tasks:
            live, words_TP = errors.live_B[b], record.words_BTP[b]
            width = -(-live // LANES) * LANES
            part[:] = 0
            part_bias[:] = 0
            weights_BW[b] = 0
            biases_BW[b] = 0
            # from the fully connected layer above
            flow_TP = _flow(live, wiring, front)
            sample = (record.starts_BT1[b], neurons_E, words_TP, record.totals_BLT[b], first, live, wiring)
            cells = cells_of(*sample, front, flow_TP)
            errors_CU = np.zeros((wiring.layers[front].cells + 1, width), np.float32)
            times_CU = np.empty((wiring.layers[front].cells + 1, width if tim else 0), np.float32)
            if act:
                above.pull(errors.upper_BQUL, b, live, stack, front, errors_CU)
            if tim:
                moved_E = np.zeros(len(cells.cells_E), np.float32)
                above.pull_times(errors.upper_shift_BQUL, b, cells, stack, front, moved_E)
                above.times_to_map(cells, moved_E, times_CU)
            for k in range(front - 1, -1, -1):
                layer, over = wiring.layers[k], wiring.layers[k + 1]
                groups, patches, pitch = layer.groups, layer.patches, layer.pitch
                share, flow = over.share, flow_TP
                cost = errors.costs_LB[k, b]
                places_N = _places(wiring, k, width)
                flow_TP = _flow(live, wiring, k)
                cells = cells_of(*sample, k, flow_TP)
                below_CU = np.zeros((layer.cells + 1, width if act and k > 0 else 0), np.float32)
                moved_E = np.zeros(len(cells.cells_E) if tim and k > 0 else 0, np.float32)
                ends = layer.biases * LANES, over.biases * LANES
                drives_TW[: live * pitch] = 0
                errors_TW[: width * pitch] = 0
                shifts_TW[: width * pitch if tim else 0] = 0
                for row in range(layer.image_rows):
                    heard = False
                    for p in range(row * patches * groups, (row + 1) * patches * groups):
                        block, g, fires = layer.first_block + p, p % groups, False
                        own, bias_at = place(layer, p // groups % patches, g), (layer.biases + g) * LANES
                        if tim:
                            fires = above.times_to_block(
                                times_CU, live, places_N, p, flow, share, words_TP, block, scratch.times_TL
                            )
                        if act:
                            fires |= above.spikes_to_block(
                                errors_CU, live, places_N, p, flow, share, scratch.errors_TL, scratch.busy_T
                            )
                        if skips and not fires and cost == 0:
                            clear_patch(errors_TW, live, pitch, own)
                            if tim and k > 0:
                                clear_patch(shifts_TW, live, pitch, own)
                            continue
                        if not heard:
                            heard = True
                            add_drives(cells, stack, k, row, drives_TW)
                        walk(
                            b,
                            (k, block, first, bias_at),
                            stack,
                            (live, cost, max_spikes),
                            unheard,
                            drives_TW,
                            (constants, of_rule, of_surrogate),
                            record,
                            scratch,
                            (errors_TW, shifts_TW if k > 0 else none_TW, own, pitch),
                            (part, first, part_bias, bias_at),
                        )
                    if not heard:
                        continue
                    clear_drives(cells, wiring, k, row, live, drives_TW)
                    add_gradients(cells, wiring, k, row, errors_TW, part)
                    _flush(part[layer.weights : over.weights], weights_BW[b, layer.weights :])
                    _flush(part_bias[ends[0] : ends[1]], biases_BW[b, ends[0] :])
                    if act and k > 0:
                        push(errors_TW, live, row, stack, k, points_W, panels_WT, below_CU)
                    if tim and k > 0:
                        add_times(cells, stack, k, row, shifts_TW, moved_E)
                if k > 0:
                    errors_CU = below_CU
                    times_CU = np.empty((layer.cells + 1, width if tim else 0), np.float32)
                    if tim:
                        above.times_to_map(cells, moved_E, times_CU)
            b = claim(counter)

    return Kernels(backward, backward_loop, backward_images)
