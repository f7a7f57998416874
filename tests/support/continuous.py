"""A two-layer network in continuous time, simulated spike by spike, and its gradient by finite differences."""

from itertools import pairwise
from pathlib import Path

import numpy as np

TAU_MEM_S, TAU_SYN_S, END_S = 0.02, 0.005, 0.06


def advance(potential, current, time_s, tau_mem_s, tau_syn_s):
    """V and I after a time without input (τ_mem dV/dt = −V + I, τ_syn dI/dt = −I)."""
    decay_v, decay_i = np.exp(-time_s / tau_mem_s), np.exp(-time_s / tau_syn_s)
    return potential * decay_v + current * tau_syn_s / (tau_mem_s - tau_syn_s) * (decay_v - decay_i), current * decay_i


def layer(spikes, weight_MN, tau_mem_s=TAU_MEM_S, tau_syn_s=TAU_SYN_S, end_s=END_S):
    """The spikes (time, neuron), sorted, of neurons with θ = 1 that hear ``spikes``; V is set to 0, I survives."""
    found = []
    for n in range(weight_MN.shape[1]):
        potential = current = t = 0.0
        for at, pre in [*spikes, (end_s, None)]:
            while True:
                times = np.linspace(0, at - t, 300)
                over = np.flatnonzero(advance(potential, current, times, tau_mem_s, tau_syn_s)[0] >= 1)
                if not len(over):
                    break
                low, high = times[over[0] - 1], times[over[0]]
                for _ in range(60):
                    middle = (low + high) / 2
                    above = advance(potential, current, middle, tau_mem_s, tau_syn_s)[0] >= 1
                    low, high = (low, middle) if above else (middle, high)
                t, potential, current = t + high, 0.0, advance(potential, current, high, tau_mem_s, tau_syn_s)[1]
                found.append((t, n))
            potential, current = advance(potential, current, at - t, tau_mem_s, tau_syn_s)
            t, current = at, current + (0 if pre is None else weight_MN[pre, n])
    return sorted(found)


def by_neuron(spikes):
    """Sorted by neuron and then by time, so that spikes keep their places when their order changes."""
    return sorted(spikes, key=lambda spike: (spike[1], spike[0]))


def write_case(path: Path, seed: int = 0, sizes=(4, 5, 2)) -> Path:
    """A file as ``app.verify --exact`` reads them; the gradients are central finite differences."""
    random = np.random.default_rng(seed)
    inputs = sorted(
        (float(t), int(n))
        for t, n in zip(random.uniform(0.002, 0.04, 12), random.integers(sizes[0], size=12), strict=True)
    )
    weights = [random.uniform(0.6, 2.6, (m, n)) for m, n in pairwise(sizes)]

    def run():
        hidden = layer(inputs, weights[0])
        return hidden, layer(hidden, weights[1])

    hidden, output = run()
    error = {spike: float(c) for spike, c in zip(by_neuron(output), random.standard_normal(len(output)), strict=True)}

    def loss():
        return sum(c * t for c, (t, _) in zip(error.values(), by_neuron(run()[1]), strict=True))

    arrays = {"tau_mem_s": TAU_MEM_S, "tau_syn_s": TAU_SYN_S, "threshold": 1.0}
    for k, weight in enumerate(weights, 1):
        arrays[f"weight{k}_MN"], gradient = weight.copy(), np.zeros_like(weight)
        for place in np.ndindex(weight.shape):
            losses = []
            for change in (1e-6, -1e-6):
                weight[place] += change
                losses.append(loss())
                weight[place] -= change
            gradient[place] = (losses[0] - losses[1]) / 2e-6
        arrays[f"grad_weight{k}_MN"] = gradient
    for name, spikes in (("input", inputs), ("hidden", hidden), ("output", output)):
        arrays[f"{name}_times_s"] = np.array([t for t, _ in spikes])
        arrays[f"{name}_neurons"] = np.array([n for _, n in spikes])
    np.savez(path, output_error_per_s=np.array([error[spike] for spike in output]), **arrays)
    return path
