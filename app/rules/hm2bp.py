"""HM2-BP: errors of spike counts, by spike-train level post-synaptic potentials (Jin, Zhang & Li 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..kernels.reference import adjoint
from .layer_rule import LayerErrors, LayerRule, LayerRun
from .rule import RULES


@RULES.register("hm2bp")
@dataclass(frozen=True)
class HybridMacroMicro(LayerRule):
    """∂L/∂w_ij = δ_i e_{i|j} (1 + a_i / (θ n_i)) with δ_i = (1/θ) ∂L/∂n_i, and ∂L/∂n_j = Σ_i δ_i w_ij e_{i|j} / n_j.

    e_{i|j} is the spike-train level post-synaptic potential of neuron i by the spikes of j: the sum, over i's own
    spikes, of the PSPs that they find (Jin et al. 2018, "Hybrid Macro/Micro Level Backpropagation for Training Deep
    Spiking Neural Networks"). The macro level takes the count of i as n_i = a_i / θ with a_i = Σ_j w_ij e_{i|j}; the
    micro level takes ∂e_{i|j}/∂n as e_{i|j}/n, for the sender's count in the error handed down and for the receiver's
    own count in the brackets. Our form of it: the PSP is that of the neuron here, cut by its resets; the bias counts as
    a synapse; the error of a count is the mean over time of δS[t]; silent neurons learn nothing and hand nothing on.

    Silent neurons stay so: start with weights or biases with which neurons fire, and with a target above 0 for all.
    """

    errors: ClassVar[tuple[str, ...]] = ("error_S",)

    def differentiate_layer(self, run: LayerRun, error_S: Tensor, error_t: Tensor) -> LayerErrors:
        """The equations above, for any linear synapses: e_{i|j} = Σ_t S_j[t] A_i[t] with A the scan of i's spikes."""
        spikes, potential = run.trajectory.spikes_TBN, run.trajectory.potential_TBN
        scan = adjoint(spikes, spikes, run.neuron, need_shift=False)
        count = spikes.sum(0).clamp(min=1)
        delta = error_S.mean(0) / run.neuron.threshold
        micro = 1 + (potential * spikes).sum(0) / (run.neuron.threshold * count)
        weight = run.synapses.weight_gradient(delta * micro * scan.drive_TBN, run.weight, run.heard)
        below = run.synapses.pull_back(delta * scan.drive_TBN, run.weight, run.heard)
        of_count = (below * run.heard).sum(0) / run.heard.sum(0).clamp(min=1)
        return LayerErrors(weight, delta * micro * scan.potential_TBN, of_count.expand_as(run.heard))
