"""A layer in continuous time that hears its own spikes and has delays, event by event; and finite differences of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from app.neuron.lif import Neuron

TAU_MEM_S, TAU_SYN_S, END_S = 0.02, 0.005, 0.05
SAMPLES, HALVINGS = 200, 60


def neuron(step_s: float, reset: str = "potential") -> Neuron:
    """The neuron in steps (app.exact): V[t] is the continuous potential at the end of step t."""
    alpha_v, alpha_i = math.exp(-step_s / TAU_MEM_S), math.exp(-step_s / TAU_SYN_S)
    beta_v = (alpha_v - alpha_i) * TAU_SYN_S / (TAU_MEM_S - TAU_SYN_S)
    return Neuron(alpha_v, alpha_i, beta_v, reset=reset)


def advanced(v: NDArray, i: NDArray, time_s: float | NDArray) -> tuple[NDArray, NDArray]:
    """V and I after a time without input."""
    decay_v, decay_i = np.exp(-time_s / TAU_MEM_S), np.exp(-time_s / TAU_SYN_S)
    return v * decay_v + i * TAU_SYN_S / (TAU_MEM_S - TAU_SYN_S) * (decay_v - decay_i), i * decay_i


def crossing(v: float, i: float, within_s: float) -> float:
    """When V first reaches 1; infinity if not within this time."""
    times = np.linspace(0, within_s, SAMPLES)
    over = np.flatnonzero(advanced(v, i, times)[0] >= 1)
    if not len(over):
        return math.inf
    low, high = times[over[0] - 1], times[over[0]]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if advanced(v, i, middle)[0] >= 1 else (middle, high)
    return high


def spikes_of(
    inputs: list[tuple[float, int]],
    weight_NM: NDArray,
    recurrent_NN: NDArray,
    delays_NM_s: NDArray,
    latency_s: float,
    reset: str = "potential",
) -> list[tuple[float, int]]:
    """All spikes (time in seconds, neuron), by neuron and then by time."""
    queue = [(t + delays_NM_s[n, m], n, weight_NM[n, m]) for t, m in inputs for n in range(len(weight_NM))]
    v, i, now = np.zeros(len(weight_NM)), np.zeros(len(weight_NM)), 0.0
    found = []
    while True:
        queue.sort()
        until = queue[0][0] if queue else END_S
        if until >= END_S:
            until = END_S
        times = [crossing(v[n], i[n], until - now) if until > now else math.inf for n in range(len(v))]
        n = int(np.argmin(times))
        if times[n] < math.inf:
            now += times[n]
            v, i = advanced(v, i, times[n])
            v[n] = 0.0
            i[n] = 0.0 if reset == "both" else i[n]
            found.append((now, n))
            queue += [(now + latency_s, k, recurrent_NN[k, n]) for k in range(len(v)) if recurrent_NN[k, n]]
            continue
        v, i = advanced(v, i, until - now)
        now = until
        if now == END_S:
            return sorted(found, key=lambda spike: (spike[1], spike[0]))
        _, n, weight = queue.pop(0)
        i[n] += weight


def differences(loss: Callable[[], float], values: NDArray, change: float) -> NDArray:
    """Central finite differences of a loss by every value."""
    gradient = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        losses = []
        for by in (change, -change):
            values[place] += by
            losses.append(loss())
            values[place] -= by
        gradient[place] = (losses[0] - losses[1]) / (2 * change)
    return gradient


def in_steps(inputs: list[tuple[float, int]], neurons: int, step_s: float) -> torch.Tensor:
    """Input spikes [T, 1, M] at the start of their steps."""
    spikes = torch.zeros(round(END_S / step_s), 1, neurons, dtype=torch.float64)
    for t, m in inputs:
        spikes[round(t / step_s), 0, m] = 1
    return spikes


def error_at(spikes_TBN: torch.Tensor, costs: list[float]) -> torch.Tensor:
    """dL/dt̂ for L = Σ_k c_k t_k, with the spikes counted by neuron and then by time."""
    error = torch.zeros_like(spikes_TBN)
    places = spikes_TBN[:, 0].t().nonzero()
    assert len(places) == len(costs), "the network in steps has as many spikes"
    for cost, (n, t) in zip(costs, places.tolist(), strict=True):
        error[t, 0, n] = cost
    return error
