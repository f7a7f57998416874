"""S4NN: single spikes, slopes taken as 1, errors normalised by layer (Kheradpisheh & Masquelier 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kernels.reference import adjoint
from ..settings import setting
from .layer_rule import LayerErrors, LayerRule, LayerRun
from .rule import RULES

SMALLEST_NORM = 1e-12


@RULES.register("s4nn")
@dataclass(frozen=True)
class S4NN(LayerRule):
    """δV_i[t̂_i] = −δ_i with δ = δt̂ / ‖δt̂‖ over the layer, and δt̂_j = −Σ_i w_ij δV_i where j does not fire after i.

    ∂t̂_i/∂V_i is taken as −1 and an input spike that is a little earlier as if it were a little stronger (Kheradpisheh
    & Masquelier 2020, "S4NN: temporal backpropagation for spiking neural networks with one spike per neuron"), for
    non-leaky neurons without synaptic current (α_V = 1, α_I = 0) that fire once. Our form of it: each sample's errors
    are normalised on their own, over the layer; a neuron that stays silent gets no error, where the paper lets it fire
    in the last step.

    Args:
        silent_penalty: as in the timing rule.
    """

    silent_penalty: float = setting(100.0, "coefficient of the penalty that revives silent neurons", ge=0)
    errors: ClassVar[tuple[str, ...]] = ("error_t",)

    def differentiate_layer(self, run: LayerRun, error_S: Tensor, error_t: Tensor) -> LayerErrors:
        """The equations above; with other neurons, the weights count by what their PSP is worth at the spike."""
        spikes = run.trajectory.spikes_TBN
        delta = torch.where(spikes != 0, error_t, 0)
        axes = (0, *range(2, delta.dim()))
        norm = delta.square().sum(axes, keepdim=True).sqrt()
        scan = adjoint(-delta / norm.clamp(min=SMALLEST_NORM), spikes, run.neuron, need_shift=False)
        weight = run.synapses.weight_gradient(scan.drive_TBN, run.weight, run.heard)
        below = run.synapses.pull_back(-scan.drive_TBN, run.weight, run.heard) * run.heard
        return LayerErrors(weight, scan.potential_TBN, times=below)

    def problems(self, config: Any) -> Iterator[str]:
        """More than one spike."""
        if config.neuron.max_spikes_per_neuron != 1:
            yield "rule=s4nn is for neurons that fire once; use neuron.max_spikes_per_neuron=1"
