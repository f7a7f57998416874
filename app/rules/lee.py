"""Errors of spike counts, handed down through low-pass filtered spike trains (Lee, Delbruck & Pfeiffer 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .layer_rule import LayerErrors, LayerRule, LayerRun
from .rule import RULES


@RULES.register("lee")
@dataclass(frozen=True)
class Lee(LayerRule):
    """n_i ≈ (1/θ) Σ_j w_ij x_j, so that ∂L/∂w_ij = ∂L/∂n_i x_j / θ and ∂L/∂n_j = Σ_i ∂L/∂n_i w_ij x_j / (θ n_j).

    Each spike of a neuron cancels θ of what its synapses have brought in, and the potential that is left is small: so
    the activity of a neuron is a linear function of the low-pass filtered activities x_j of its inputs, and its
    derivative is taken from there as if spikes were noise about it (Lee et al. 2016, "Training Deep Spiking Neural
    Networks Using Backpropagation"). Our form of it: both sides of that balance are filtered by the membrane alike, so
    that summed over the window the filter drops out and counts remain; x_j is the charge that j's spikes bring through
    a unit weight within the window, β_I β_V Σ_k α_I^k for each; the error of a count is the mean over time of δS[t].
    The paper's lateral inhibition, its threshold regularisation and its √(M/m) normalisation of errors are left out.
    """

    errors: ClassVar[tuple[str, ...]] = ("error_S",)

    def differentiate_layer(self, run: LayerRun, error_S: Tensor, error_t: Tensor) -> LayerErrors:
        """The equations above, for any linear synapses."""
        neuron, heard = run.neuron, run.heard
        steps = torch.arange(len(heard), device=heard.device)
        powers = neuron.alpha_i ** steps.to(heard.dtype)
        later = (powers * (steps[:, None] + steps < len(steps))).sum(1)  # Σ_{k < T − t} α_I^k, for each t
        charge = (neuron.beta_i * neuron.beta_v * later).view(-1, *[1] * (heard.dim() - 1))
        delta = (error_S.mean(0) / neuron.threshold).expand_as(error_S)
        filtered = heard * charge
        weight = run.synapses.weight_gradient(delta, run.weight, filtered)
        count = heard.sum(0)
        of_one = torch.where(count > 0, filtered.sum(0) / count.clamp(min=1), charge[0])
        below = run.synapses.pull_back(delta[:1], run.weight, heard[:1])[0] * of_one
        return LayerErrors(weight, delta, below.expand_as(heard))
