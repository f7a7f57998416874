"""What the kernels of fully connected layers have in common: their arrays, and events as they read them.

Shape suffixes beside those of the project: L = 64 lanes, the neurons that a task handles at once (one per bit of a
machine word); P = ⌈N / L⌉ blocks of lanes of a layer, the last one padded with neurons that never fire; Q blocks of the
layer above and K its neurons; G groups of samples; E events.

A kernel takes ``counter, tasks, *arguments`` and claims one task after the other until none is left; threads share the
counter. Every kernel has the same order of parts: its task, its state, the loop over time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .lanes import LANES, SQUARE, claim, lowest, transpose
from .wiring import Wiring

TILE = 4
"""Where a loop goes through all weights, it handles so many steps at once and loads each weight once for all."""
BIAS_STEPS = 64
"""The gradient of the biases is summed over so many steps, then over such sums: one sum over thousands loses digits."""


class Constants(NamedTuple):
    """The neuron's constants, np.float32.

    Args:
        alpha_v, alpha_i, beta_v, beta_i, threshold: as :class:`app.neuron.lif.Neuron` has them.
        resets_current: the lanes whose current a spike resets: all or none.
        subtracts: whether a spike takes θ from the potential instead of resetting it.
    """

    alpha_v: np.float32
    alpha_i: np.float32
    beta_v: np.float32
    beta_i: np.float32
    threshold: np.float32
    resets_current: np.uint64
    subtracts: bool | np.bool_


class Stack(NamedTuple):
    """The layers of a network in the kernels' layout.

    Args:
        wiring: who hears whom.
        weights: of all layers, each [G, R, L], or stretches (``app.kernels.wiring``) for a convolutional layer.
        biases: of all layers, times β_b, each [G, L].
    """

    wiring: Wiring
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]


class Record(NamedTuple):
    """What a forward run leaves behind; the axis L counts layers here, and P blocks and N neurons of all layers.

    Args:
        starts_BT1: step t of sample b owns the input events ``starts_BT1[b, t]:starts_BT1[b, t + 1]``.
        words_BTP: who fires.
        totals_BLT: how many fire.
        counts_BN: how often each neuron fires.
        until_B: the steps up to and including the first output spike; T without any.
        decision_BL: the spikes in these steps.
        valid_B: 0 where an input event is misplaced or there twice.
    """

    starts_BT1: NDArray[np.int64]
    words_BTP: NDArray[np.uint64]
    totals_BLT: NDArray[np.int32]
    counts_BN: NDArray[np.int32]
    until_B: NDArray[np.int64]
    decision_BL: NDArray[np.float32]
    valid_B: NDArray[np.bool_]


@kernel(forceinline=True, allocates=True)
def aligned(count):
    """Scratch memory of ``count`` floats that starts where a cache line does."""
    raw = np.empty(count + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + count]


# --- weights and events -----------------------------------------------------------------------------------------------


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
                transpose(weight, (p * LANES + j) * inputs + i, inputs, packed, (p * inputs + i) * LANES + j, LANES)
        for i in range(inputs):
            for j in range(squares if i < whole else 0, LANES):
                packed_PML[p, i, j] = weight_NM[p * LANES + j, i] if j < width else np.float32(0)
        p = claim(counter)


@kernel(forceinline=True)
def unpack(block_ML, width, weight, start, inputs):
    """The values of one block in the layout of the weight, where the block's rows begin at ``start``."""
    squares, whole = width // SQUARE * SQUARE, inputs // SQUARE * SQUARE
    for j in range(0, squares, SQUARE):
        for i in range(0, whole, SQUARE):
            transpose(block_ML, i * LANES + j, LANES, weight, start + j * inputs + i, inputs)
    for j in range(width):
        for i in range(whole if j < squares else 0, inputs):
            weight[start + j * inputs + i] = block_ML[i * LANES + j]


@kernel()
def index_events(steps_E, neurons_E, offsets_B1, b, inputs, starts_T1, seen_M):
    """Find where the events of each step of sample b start; False when one is misplaced or there twice."""
    steps, e, end = len(starts_T1) - 1, offsets_B1[b], offsets_B1[b + 1]
    if not 0 <= e <= end <= len(steps_E) or (b == 0 and e != 0) or (b == len(offsets_B1) - 2 and end != len(steps_E)):
        return False
    seen_M[:] = -1
    for t in range(steps):
        starts_T1[t] = e
        while e < end and steps_E[e] == t:
            if neurons_E[e] < 0 or neurons_E[e] >= inputs or seen_M[neurons_E[e]] == t:
                return False
            seen_M[neurons_E[e]] = t
            e += 1
    starts_T1[steps] = e
    return e == end


@kernel()
def spikes_in(totals_LT, k, first, last):
    """How often layer k fires from step ``first`` to ``last``."""
    found = 0
    for t in range(first, last):
        found += totals_LT[k, t]
    return found


@kernel()
def list_spikes(words_TP, starts_T1, neurons_E):
    """The spikes of a layer as events, by step and then by neuron."""
    e = 0
    for t in range(len(words_TP)):
        starts_T1[t] = e
        for p in range(words_TP.shape[1]):
            word = words_TP[t, p]
            while word != 0:
                neurons_E[e] = p * LANES + lowest(word)
                word &= word - np.uint64(1)
                e += 1
    starts_T1[len(words_TP)] = e
