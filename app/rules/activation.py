"""The activation-based rule: a spike's value is differentiated through a surrogate (SPEC 2)."""

from __future__ import annotations

from torch import Tensor

from ..neuron.surrogate import Surrogate


def activation_error(error_S: Tensor, potential: Tensor, surrogate: Surrogate, threshold: float) -> Tensor:
    """δV[t] = σ(V[t]) δS[t]; all arguments of shape [T, B, N] (Kim et al. 2020, eq. 5)."""
    return surrogate(potential, threshold) * error_S
