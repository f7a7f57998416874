"""The time loops as compiled, event-driven CPU kernels (float32, fully connected layers); same results as ``reference``.

Shape suffixes beside those of the project: L = 64 lanes, the neurons that a task handles at once (one per bit of a
machine word); P = ⌈N / L⌉ blocks of lanes of a layer, the last one padded with neurons that never fire; M inputs of the
layer; Q blocks and K = Q·L neurons of the layer above; G groups of samples; E events.

What makes it fast: weights are read and weight gradients added only where a spike is; one task walks through the whole
window of 64 neurons whose states stay in the first-level cache; the membrane potential is never stored, but run again
where the backward scan needs it; the errors of the layer above are multiplied by its weights inside the scan; steps
behind the last error are left out. A neuron's own sums run in a fixed order, whatever the number of threads.

Every kernel has the same order of parts: its task, its scratch memory, the loop over samples, the loop over time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 64
FAST = {"contract"}
"""Gradient loops may fuse a product and a sum; the forward loop may not, it has to reproduce ``reference`` exactly."""


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


def kernel(**options: Any):
    """Compile with a cache on disk, or without one where no directory for it is writable."""

    def compile_(function):
        try:
            return njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        except RuntimeError:
            return njit(nogil=True, error_model="numpy", **options)(function)

    return compile_


# --- words: one bit per lane ------------------------------------------------------------------------------------------


@intrinsic
def _reached(typing_context, left_L, right_L):
    """uint64: bit j says whether left_L[j] >= right_L[j]."""

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), LANES)
        loaded = []
        for array_type, array in zip(signature.args, arguments, strict=True):
            data = context.make_array(array_type)(context, builder, array).data
            loaded.append(builder.load(builder.bitcast(data, vector.as_pointer()), align=4))
        return builder.bitcast(builder.fcmp_ordered(">=", *loaded), ir.IntType(LANES))

    return types.uint64(left_L, right_L), generate


@intrinsic
def _lowest(typing_context, word):
    """The position of the lowest bit that is set; the word is not 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), generate


@intrinsic
def _bits(typing_context, word):
    """How many bits are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), generate


@intrinsic
def _as_float(typing_context, bits):
    """The float32 with these bits (int32)."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


# --- weights and events -----------------------------------------------------------------------------------------------


@kernel()
def pack(first, last, weight_NM, packed_PML):
    """Task p: the weights of block p, with the neurons contiguous and padded by zeros."""
    neurons, inputs = weight_NM.shape
    for p in range(first, last):
        width = min(LANES, neurons - p * LANES)
        block_ML = packed_PML[p]
        if width < LANES:
            block_ML[:] = 0
        for i in range(inputs):
            for j in range(width):
                block_ML[i, j] = weight_NM[p * LANES + j, i]


@kernel()
def index_events(steps_E, neurons_E, offsets_B1, inputs, starts_BT1):
    """Where the events of each step begin, starts_BT1[b, t] … starts_BT1[b, t + 1]; False when an event is misplaced."""
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
            total = 0
            for p in range(words_BTP.shape[2]):
                total += _bits(words_BTP[b, t, p])
            totals_BT[b, t] = total


@kernel()
def list_words(first, last, words_BTP, first_step, last_step, starts_BT1, steps_E, neurons_E, counts_BN):
    """Task b: the spikes as events, by step and then by neuron, and how often each neuron fires."""
    for b in range(first, last):
        for t in range(first_step, last_step):
            e = starts_BT1[b, t]
            for p in range(words_BTP.shape[2]):
                word = words_BTP[b, t, p]
                while word != 0:
                    n = p * LANES + _lowest(word)
                    steps_E[e] = t
                    neurons_E[e] = n
                    counts_BN[b, n] += 1
                    word &= word - np.uint64(1)
                    e += 1


# --- forward ----------------------------------------------------------------------------------------------------------


@kernel()
def _gather(events_E, weight_ML, drive_L):
    """drive = Σ_i w_i over the inputs that fire in this step."""
    drive_L[:] = 0
    for i in events_E:
        weight_L = weight_ML[i]
        for j in range(LANES):
            drive_L[j] += weight_L[j]


@kernel()
def _neurons_step(drive_L, bias_L, state_4L, constants, current_L, potential_L):
    """One step of 64 neurons (SPEC 1), in the order of operations of ``reference``; returns who fires."""
    i_L, v_L, limit_L = state_4L[0], state_4L[1], state_4L[2]
    alpha_v, alpha_i, beta_v, beta_i = constants.alpha_v, constants.alpha_i, constants.beta_v, constants.beta_i
    for j in range(LANES):
        current = i_L[j] * alpha_i + drive_L[j] * beta_i
        potential = v_L[j] * alpha_v + current * beta_v + bias_L[j]
        fires = potential >= limit_L[j]
        i_L[j] = np.float32(0) if fires else current
        v_L[j] = np.float32(0) if fires else potential
        current_L[j] = current
        potential_L[j] = potential
    return _reached(potential_L, limit_L)


@kernel()
def _use_up(word, state_4L):
    """Count the spikes of neurons that may fire only so often; who fired the last time gets an infinite threshold."""
    limit_L, left_L = state_4L[2], state_4L[3]
    while word != 0:
        j = _lowest(word)
        left_L[j] -= np.float32(1)
        if left_L[j] <= 0:
            limit_L[j] = np.inf
        word &= word - np.uint64(1)


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
    drive_L = np.empty(LANES, np.float32)
    current_L = np.empty(LANES, np.float32)
    potential_L = np.empty(LANES, np.float32)
    for task in range(first, last):
        p, b = task // samples, task % samples
        weight_ML, bias_L, state_4L = packed_PML[p], bias_PL[p], states_BP4L[b, p]
        for t in range(first_step, last_step):
            word = np.uint64(0)
            if running_B[b]:
                _gather(neurons_E[starts_BT1[b, t] : starts_BT1[b, t + 1]], weight_ML, drive_L)
                word = _neurons_step(drive_L, bias_L, state_4L, constants, current_L, potential_L)
                if limited and word != 0:
                    _use_up(word, state_4L)
            words_BTP[b, t, p] = word


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


@kernel(fastmath=FAST)
def _exp(x):
    """exp(x) for x <= 0 with a relative error of 1e-7: 2^n times a polynomial on half an octave each side."""
    y = max(x * np.float32(1.4426950408889634), np.float32(-126.0))
    n = np.floor(y + np.float32(0.5))
    f = y - n
    p = np.float32(1.535336188319500e-4)
    p = p * f + np.float32(1.339887440266574e-3)
    p = p * f + np.float32(9.618437357674640e-3)
    p = p * f + np.float32(5.550332471162809e-2)
    p = p * f + np.float32(2.402264791363012e-1)
    p = p * f + np.float32(6.931472028550421e-1)
    p = p * f + np.float32(1.0)
    return p * _as_float((np.int32(n) + np.int32(127)) << np.int32(23))


@kernel(fastmath=FAST)
def _surrogate(potential_L, threshold, rule, surrogate_L):
    """σ(V)."""
    if rule.slope != 0:
        for j in range(LANES):
            surrogate_L[j] = rule.height * _exp(-rule.slope * abs(potential_L[j] - threshold))
    else:
        for j in range(LANES):
            near = abs(potential_L[j] - threshold) < rule.half_width
            surrogate_L[j] = rule.height if near else np.float32(0)


@kernel(fastmath=FAST)
def _activation_above(t, upper_QTL, weight_KL, neurons_above, error_L):
    """δS[t] = Σ_k w_k β_I δI_k[t] over the neurons k of the layer above; False when none has an error."""
    found = False
    error_L[:] = 0
    for k in range(neurons_above):
        error = upper_QTL[k // LANES, t, k % LANES]
        if error != 0:
            found = True
            weight_L = weight_KL[k]
            for j in range(LANES):
                error_L[j] += error * weight_L[j]
    return found


@kernel(fastmath=FAST)
def _timing_above(t, j, shift_QTL, weight_KL, neurons_above):
    """δt̂[t] of one spike: Σ_k w_k · the error of moving a unit spike at step t."""
    total = np.float32(0)
    for k in range(neurons_above):
        total += shift_QTL[k // LANES, t, k % LANES] * weight_KL[k, j]
    return total


@kernel(fastmath=FAST)
def _adjoint_step(error_L, adjoint_3L, constants, drive_L, shift_L):
    """One step of the reverse scan (SPEC 2): δV_dep and δI, their use by the layer below, and the sum of δV_dep."""
    v_L, i_L, bias_L = adjoint_3L[0], adjoint_3L[1], adjoint_3L[2]
    alpha_v, alpha_i, beta_v, beta_i = constants.alpha_v, constants.alpha_i, constants.beta_v, constants.beta_i
    half = beta_i / np.float32(2)
    for j in range(LANES):
        later = i_L[j]
        potential = error_L[j] + alpha_v * v_L[j]
        current = beta_v * potential + alpha_i * later
        v_L[j] = potential
        i_L[j] = current
        bias_L[j] += potential
        drive_L[j] = beta_i * current
        shift_L[j] = (later - (alpha_i * current + beta_v * alpha_v * potential)) * half


@kernel(fastmath=FAST)
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
    upper_BQTL,
    upper_shift_BQTL,
    upper_weight_KN,
    bottom,
    drive_BPTL,
    shift_BPTL,
    weight_gradient_GPML,
    bias_gradient_GPL,
):
    """Task (block, group of samples): the gradients of 64 neurons, and their errors for the layer below.

    Args:
        max_spikes: 0 means no limit.
        live_B: later steps have no error.
        top: this is the output layer; its errors are ``error_BTN`` and ``error_t_BTN``. Otherwise they come from the
            layer above as ``upper_BQTL`` (β_I δI) and ``upper_shift_BQTL``, to be multiplied by its weights.
        bottom: there is no layer below that needs ``drive_BPTL`` and ``shift_BPTL``.
        weight_gradient_GPML, bias_gradient_GPL: the sums of each group, without β_b.
    """
    samples, steps, blocks = words_BTP.shape
    neurons = error_BTN.shape[2] if top else upper_weight_KN.shape[1]
    above = 0 if top else upper_weight_KN.shape[0]
    act, tim, rnn, slayer = rule.lambda_act != 0, rule.lambda_tim != 0, rule.rnn != 0, rule.slayer != 0
    potential_TL = np.empty((steps, LANES), np.float32)
    current_TL = np.empty((steps if rnn else 1, LANES), np.float32)
    own_drive_TL = np.empty((steps if bottom else 0, LANES), np.float32)
    own_shift_TL = np.empty((1, LANES), np.float32)
    upper_weight_KL = np.zeros((above, LANES), np.float32)
    state_4L = np.empty((4, LANES), np.float32)
    adjoint_3L = np.empty((3, LANES), np.float32)
    error_L = np.empty(LANES, np.float32)
    surrogate_L = np.empty(LANES, np.float32)
    last_L = np.empty(LANES, np.int64)
    for task in range(first, last):
        p, g = task // groups, task % groups
        n0 = p * LANES
        width = min(LANES, neurons - n0)
        for k in range(above):
            for j in range(width):
                upper_weight_KL[k, j] = upper_weight_KN[k, n0 + j]
            upper_weight_KL[k, width:] = 0
        gradient_ML = weight_gradient_GPML[g, p]
        gradient_ML[:] = 0
        bias_gradient_GPL[g, p] = 0
        for b in range(g * samples // groups, (g + 1) * samples // groups):
            live = live_B[b]
            drive_TL = own_drive_TL if bottom else drive_BPTL[b, p]
            shift_TL = own_shift_TL if bottom else shift_BPTL[b, p]
            # the membrane potential once more
            state_4L[0] = 0
            state_4L[1] = 0
            state_4L[2] = constants.threshold
            state_4L[3] = max_spikes
            last_L[:] = steps
            for t in range(live):
                _gather(neurons_E[starts_BT1[b, t] : starts_BT1[b, t + 1]], packed_PML[p], surrogate_L)
                word = _neurons_step(
                    surrogate_L, bias_PL[p], state_4L, constants, current_TL[t if rnn else 0], potential_TL[t]
                )
                if max_spikes and word != 0:
                    _use_up(word, state_4L)
                    while word != 0:
                        j = _lowest(word)
                        if state_4L[3, j] <= 0:
                            last_L[j] = t
                        word &= word - np.uint64(1)
            # from the last error to the first step
            adjoint_3L[:] = 0
            for t in range(live - 1, -1, -1):
                potential_L, word = potential_TL[t], words_BTP[b, t, p]
                # the errors of spikes and times, made the error of the potential by the rule
                found = False
                if act:
                    if top:
                        error_L[width:] = 0
                        for j in range(width):
                            error_L[j] = error_BTN[b, t, n0 + j]
                            found |= error_L[j] != 0
                    else:
                        found = _activation_above(t, upper_BQTL[b], upper_weight_KL, above, error_L)
                if found or rnn:
                    _surrogate(potential_L, constants.threshold, rule, surrogate_L)
                if found:
                    for j in range(LANES):
                        error_L[j] = rule.lambda_act * (surrogate_L[j] * error_L[j])
                else:
                    error_L[:] = 0
                if tim:
                    rest = word
                    while rest != 0:
                        j = _lowest(rest)
                        rest &= rest - np.uint64(1)
                        if top:
                            error_t = error_t_BTN[b, t, n0 + j]
                        else:
                            error_t = _timing_above(t, j, upper_shift_BQTL[b], upper_weight_KL, above)
                        slope = potential_L[j]
                        if t > 0 and not (words_BTP[b, t - 1, p] >> np.uint64(j)) & np.uint64(1):
                            slope -= potential_TL[t - 1, j]
                        error_L[j] -= rule.lambda_tim * (error_t / max(slope, rule.min_slope))
                if rnn:
                    v_L, i_L = adjoint_3L[0], adjoint_3L[1]
                    current_L = current_TL[t]
                    for j in range(LANES):
                        leak = constants.alpha_v * potential_L[j] * v_L[j] + constants.alpha_i * current_L[j] * i_L[j]
                        error_L[j] -= surrogate_L[j] * leak
                if max_spikes:
                    for j in range(LANES):
                        error_L[j] = error_L[j] if t <= last_L[j] else np.float32(0)
                # the reverse scan
                if not slayer:
                    while word != 0:
                        j = _lowest(word)
                        adjoint_3L[0, j] = 0
                        adjoint_3L[1, j] = 0
                        word &= word - np.uint64(1)
                _adjoint_step(error_L, adjoint_3L, constants, drive_TL[t], shift_TL[0 if bottom else t])
            # the gradients
            for j in range(LANES):
                bias_gradient_GPL[g, p, j] += adjoint_3L[2, j]
            for t in range(live):
                drive_L = drive_TL[t]
                for i in neurons_E[starts_BT1[b, t] : starts_BT1[b, t + 1]]:
                    gradient_L = gradient_ML[i]
                    for j in range(LANES):
                        gradient_L[j] += drive_L[j]


@kernel()
def unpack(first, last, gradient_GPML, gradient_NM):
    """Task p: the sum of all groups' weight gradients of block p, in the layout of the weight."""
    groups, _, inputs, _ = gradient_GPML.shape
    neurons = len(gradient_NM)
    for p in range(first, last):
        for i in range(inputs):
            total_L = gradient_GPML[0, p, i]
            for g in range(1, groups):
                for j in range(LANES):
                    total_L[j] += gradient_GPML[g, p, i, j]
            for j in range(min(LANES, neurons - p * LANES)):
                gradient_NM[p * LANES + j, i] = total_L[j]
