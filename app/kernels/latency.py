"""The latency loss and its errors as one compiled function: a dozen small tensor operations take as long as a layer."""

from __future__ import annotations

import math

import numpy as np

from .compile import kernel


@kernel(allocates=True)
def latency_errors(spikes_TBN, label_B, beta, weight, smoothing, loss_B, error_TBN, error_t_TBN):
    """The latency loss (``app.losses.latency``) of each sample; the gradients of the mean are written out.

    δt̂_j = −β (softmax(z)_j − q_j) / B at the first spike, with the target q_j = (1 − ε) [j = label] + ε / N;
    δS_label[t] = −λ_ns / B at every t when the label's neuron is silent (SPEC 3).

    Args:
        spikes_TBN: output spikes.
        label_B: labels, each below N.
        beta, weight, smoothing: β_softmax, λ_ns and ε.
        loss_B: float64, to be filled in.
        error_TBN, error_t_TBN: zeros, to be filled in.
    """
    steps, samples, neurons = spikes_TBN.shape
    first_N, z_N = np.empty(neurons, np.int64), np.empty(neurons, np.float64)
    for b in range(samples):
        first_N[:] = steps
        for t in range(steps - 1, -1, -1):
            for n in range(neurons):
                if spikes_TBN[t, b, n] != 0:
                    first_N[n] = t
        label, highest, total, loss = label_B[b], 0.0, 0.0, 0.0
        for n in range(neurons):
            z_N[n] = beta * (steps - first_N[n])
            highest = max(highest, z_N[n])
        for n in range(neurons):
            total += math.exp(z_N[n] - highest)
        for n in range(neurons):
            log_p = z_N[n] - highest - math.log(total)
            target = smoothing / neurons + (1 - smoothing if n == label else 0.0)
            loss -= target * log_p
            if first_N[n] < steps:
                error_t_TBN[first_N[n], b, n] = -beta * (math.exp(log_p) - target) / samples
        if first_N[label] == steps:
            loss += weight
            for t in range(steps):
                error_TBN[t, b, label] = -weight / samples
        loss_B[b] = loss
