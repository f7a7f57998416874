"""The time loops for GPUs, as source for Triton: one program runs a block of neurons of one sample over the window.

The states stay in registers from the first step to the last. A program has as many neurons as a warp has lanes, so that
nothing has to be exchanged or waited for; what the next steps read is fetched ahead (``STAGES``). Offsets have 64 bits,
lanes behind the last neuron are masked, and every sum is made by one lane in one order: the same bits in every run.

The functions are plain Python; :mod:`app.kernels.triton_build` compiles them or, without a GPU, interprets them.
``point`` is a learning rule's equation and not defined here: every rule gives its own (``app.engines.triton_rule``).
"""

# ruff: noqa: F821  (point)

from collections.abc import Callable
from typing import Any

import triton.language as tl

point: Callable[..., Any]
BIAS_STEPS = tl.constexpr(64)
"""The gradient of the biases is summed over so many steps, then over such sums: one sum over thousands loses digits."""


def forward_scan(
    drive,
    bias,
    potentials,
    currents,
    spikes,
    counts,
    last,
    steps,
    samples,
    neurons,
    pixels,
    alpha_v,
    alpha_i,
    beta_v,
    beta_i,
    beta_bias,
    theta,
    max_spikes,
    RESET: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Run neurons over the whole window (SPEC 1); in the order of operations of ``app.kernels.reference``.

    Args:
        drive: Σ_i w_i S_i[t], float [T, B, N].
        bias: b, one for ``pixels`` neurons in a row.
        potentials, currents: V and I before the reset, written where given; ``potentials`` may be ``drive`` itself.
        spikes: bytes [T, B, N], written.
        counts, last: int32 [B, N], written: the number of spikes, and the last step in which a spike was allowed.
        steps, samples, neurons, pixels: T, B, N, and neurons per bias.
        alpha_v, alpha_i, beta_v, beta_i, beta_bias, theta: the neuron's constants.
        max_spikes: None for no limit.
        RESET, BLOCK, STAGES: the reset, neurons per program, and how many steps ahead are fetched.
    """
    blocks = (neurons + BLOCK - 1) // BLOCK
    sample = tl.program_id(0) // blocks
    n = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    row = tl.cast(sample, tl.int64) * neurons + n
    stride = tl.cast(samples, tl.int64) * neurons
    charge = tl.load(bias + n // pixels, mask=inside, other=0.0) * beta_bias
    current = tl.full((BLOCK,), 0.0, tl.float32)
    potential = tl.full((BLOCK,), 0.0, tl.float32)
    fired = tl.full((BLOCK,), 0, tl.int32)
    until = tl.full((BLOCK,), 0, tl.int32) + (steps - 1)
    for t in tl.range(0, steps, num_stages=STAGES):
        at = row + t * stride
        current = current * alpha_i + tl.load(drive + at, mask=inside, other=0.0) * beta_i
        potential = potential * alpha_v + current * beta_v + charge
        spike = potential >= theta
        if max_spikes is not None:
            spike = spike & (t <= until)
        fired += spike.to(tl.int32)
        if max_spikes is not None:
            until = tl.where(spike & (fired == max_spikes), t, until)
        tl.store(spikes + at, spike.to(tl.uint8), mask=inside)
        if potentials is not None:
            tl.store(potentials + at, potential, mask=inside)
        if currents is not None:
            tl.store(currents + at, current, mask=inside)
        if RESET == "both":
            current = tl.where(spike, 0.0, current)
        potential = tl.where(spike, potential - theta if RESET == "subtract" else 0.0, potential)
    tl.store(counts + row, fired, mask=inside)
    tl.store(last + row, until, mask=inside)


def backward_scan(
    error_S,
    error_t,
    potentials,
    currents,
    counts,
    last,
    bias,
    drive_error,
    shift_error,
    bias_error,
    steps,
    samples,
    neurons,
    pixels,
    alpha_v,
    alpha_i,
    beta_v,
    beta_i,
    beta_bias,
    theta,
    ahead_v,
    half_i,
    of_rule,
    of_surrogate,
    RESET: tl.constexpr,
    THROUGH_RESET: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The learning rule, then the scan back in time (SPEC 2); see ``app.kernels.reference.adjoint``.

    Spikes are not read: a neuron fires where V ≥ θ and it still may.

    Args:
        error_S, error_t: dL/dS and dL/dt̂, float [T, B, N]; None for zero. The latter counts at spikes alone.
        potentials, currents, counts, last, bias: of the forward run; ``currents`` is None where the rule does not ask.
        drive_error: β_I δI, float [T, B, N], written.
        shift_error: the error of moving a unit spike in front of the neuron, written where given.
        bias_error: Σ_t δV_dep, float [B, N], written; without β_b.
        steps, samples, neurons, pixels, alpha_v, alpha_i, beta_v, beta_i, beta_bias, theta: as for the forward run.
        ahead_v, half_i: β_V α_V and β_I / 2.
        of_rule, of_surrogate: the settings of the rule and of its surrogate, tuples.
        RESET, BLOCK, STAGES: as for the forward run.
        THROUGH_RESET: errors pass through resets.
    """
    blocks = (neurons + BLOCK - 1) // BLOCK
    sample = tl.program_id(0) // blocks
    n = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    row = tl.cast(sample, tl.int64) * neurons + n
    stride = tl.cast(samples, tl.int64) * neurons
    zero = tl.full((BLOCK,), 0.0, tl.float32)
    charge = tl.load(bias + n // pixels, mask=inside, other=0.0) * beta_bias
    count = tl.load(counts + row, mask=inside, other=0).to(tl.float32)
    until = tl.load(last + row, mask=inside, other=0)
    potential = tl.load(potentials + row + (steps - 1) * stride, mask=inside, other=0.0)
    d_potential = zero
    d_current = zero
    summed = zero
    part = zero
    for k in tl.range(0, steps, num_stages=STAGES):
        t = steps - 1 - k
        at = row + t * stride
        allowed = t <= until
        spike = (potential >= theta) & allowed
        before = tl.load(potentials + at - stride, mask=inside & (at >= stride), other=0.0)
        kept = before - theta if RESET == "subtract" else zero
        slope = potential - tl.where((before >= theta) & (t <= until + 1), kept, before)
        by_spike = zero
        if error_S is not None:
            by_spike = tl.load(error_S + at, mask=inside, other=0.0)
        by_time = zero
        if error_t is not None:
            by_time = tl.where(spike, tl.load(error_t + at, mask=inside, other=0.0), 0.0)
        current = zero
        if currents is not None:
            current = tl.load(currents + at, mask=inside, other=0.0)
        lost_potential = potential
        if RESET == "subtract":
            lost_potential = zero + theta
        lost_current = zero
        if RESET == "both":
            lost_current = current
        error = zero + point(
            by_spike,
            by_time,
            spike,
            potential,
            slope,
            current,
            charge,
            lost_potential,
            lost_current,
            d_potential,
            d_current,
            count,
            theta,
            alpha_v,
            alpha_i,
            beta_v,
            beta_i,
            1.0 if RESET == "subtract" else 0.0,
            of_rule,
            of_surrogate,
        )
        error = tl.where(allowed, error, 0.0)
        if not THROUGH_RESET and RESET != "subtract":
            d_potential = tl.where(spike, 0.0, d_potential)
        if not THROUGH_RESET and RESET == "both":
            d_current = tl.where(spike, 0.0, d_current)
        later = d_current
        d_potential = error + d_potential * alpha_v
        d_current = d_potential * beta_v + d_current * alpha_i
        tl.store(drive_error + at, d_current * beta_i, mask=inside)
        if shift_error is not None:
            tl.store(shift_error + at, (later - (d_current * alpha_i + d_potential * ahead_v)) * half_i, mask=inside)
        part += d_potential
        if t % BIAS_STEPS == 0:
            summed += part
            part = zero
        potential = before
    tl.store(bias_error + row, summed, mask=inside)


def where(condition, inside, outside):
    """``inside`` where the condition holds, ``outside`` elsewhere."""
    return tl.where(condition, inside, outside)


def maximum(x, limit):
    """The larger of both; not a number where one is none."""
    return tl.maximum(x, limit, propagate_nan=tl.PropagateNan.ALL)


def minimum(x, limit):
    """The smaller of both; not a number where one is none."""
    return tl.minimum(x, limit, propagate_nan=tl.PropagateNan.ALL)


def exp(x):
    """e^x, with a relative error of about 1e-7."""
    return tl.exp(x)


def sqrt(x):
    """The square root, rounded correctly."""
    return tl.sqrt_rn(x)


def magnitude(x):
    """The absolute value."""
    return tl.abs(x)
