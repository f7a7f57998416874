"""The spike-response view of the neuron: post-synaptic potential (PSP) kernels (SPEC 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from .lif import Neuron


def psp_kernel(neuron: Neuron, time_steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """ε[τ] = β_I β_V Σ_{k=0..τ} α_I^k α_V^{τ−k} for τ = 0 … time_steps − 1: the PSP of one spike through weight 1.

    The membrane potential is V[t] = Σ_i w_i Σ_τ ε[t − τ] over the spikes τ of input i after the neuron's own last one.

    Examples:
        >>> psp_kernel(Neuron(0.5, 0.5, 1.0), 4).tolist()
        [1.0, 1.0, 0.75, 0.5]
    """
    values, current, potential = [], neuron.beta_i, 0.0
    for _ in range(time_steps):
        potential = neuron.alpha_v * potential + neuron.beta_v * current
        current *= neuron.alpha_i
        values.append(potential)
    return torch.tensor(values, dtype=dtype)


def psp_slope_kernel(neuron: Neuron, time_steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """ε*[τ] = (ε[τ+1] − ε[τ−1]) / 2 with ε[−1] = 0, for τ = 0 … time_steps − 1: the slope of the PSP per step.

    Examples:
        >>> psp_slope_kernel(Neuron(0.5, 0.5, 1.0), 3).tolist()
        [0.5, -0.125, -0.25]
    """
    psp = psp_kernel(neuron, time_steps + 1, dtype)
    before = torch.cat([psp.new_zeros(1), psp[: time_steps - 1]])
    return (psp[1:] - before) / 2
