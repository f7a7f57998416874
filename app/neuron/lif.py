"""The leaky integrate-and-fire neuron with synaptic current (SPEC 1; Kim et al. 2020, section 2).

    I[t] = α_I (1 − S[t−1]) I[t−1] + β_I Σ_i w_i S_i[t]          synaptic current
    V[t] = α_V (1 − S[t−1]) V[t−1] + β_V I[t] + β_b b             membrane potential
    S[t] = 1 if V[t] ≥ θ else 0                                   spike; resets I and V

With ``reset="potential"`` a spike resets only V, and the current survives it (the usual current-based LIF, as in
EventProp and NIR): I[t] = α_I I[t−1] + … . With ``reset="subtract"`` a spike takes θ from V and leaves I alone:
V[t] = α_V (V[t−1] − θ S[t−1]) + … .

By (α_V, α_I) the same equations are five neurons of the literature: integrate-and-fire (1, 0), leaky integrate-and-fire
without synaptic current (a, 0), alpha synapse (a, a), non-leaky with exponential PSP (1, a), non-leaky with linear
PSP (1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from torch import Tensor

from .limits import SMALLEST, require_single_precision

Reset = Literal["both", "potential", "subtract"]


@dataclass(frozen=True)
class Neuron:
    """Constants of one neuron model, shared by all layers.

    Args:
        alpha_v: α_V, what is left of the membrane potential after one step, 0..1.
        alpha_i: α_I, what is left of the synaptic current after one step, 0..1.
        beta_v: β_V, membrane potential per synaptic current.
        beta_i: β_I, synaptic current per weighted spike.
        beta_bias: β_b, membrane potential per bias.
        threshold: θ.
        max_spikes: a neuron fires at most so often in one window (1 = single-spike coding); None = no limit. After its
            last allowed spike S stays 0 while I and V go on.
        reset: what a spike resets: ``both`` V and I to 0, ``potential`` V alone, ``subtract`` takes θ from V.

    Raises:
        ValueError: a constant with which the equations make no sense; the kernels rely on θ > 0.

    Examples:
        >>> Neuron(0.9, 0.5, 1.0, reset="never")
        Traceback (most recent call last):
            ...
        ValueError: reset='never' must be one of both, potential, subtract
    """

    alpha_v: float
    alpha_i: float
    beta_v: float
    beta_i: float = 1.0
    beta_bias: float = 1.0
    threshold: float = 1.0
    max_spikes: int | None = None
    reset: Reset = "both"

    def __post_init__(self) -> None:
        for name in ("alpha_v", "alpha_i"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be from 0 to 1")
        if not self.threshold >= SMALLEST:
            raise ValueError(f"threshold={self.threshold} must be greater than 0, by {SMALLEST:.3g} or more")
        betas = {"beta_v": self.beta_v, "beta_i": self.beta_i, "beta_bias": self.beta_bias}
        require_single_precision(threshold=self.threshold, **betas)
        if self.max_spikes is not None and self.max_spikes < 1:
            raise ValueError(f"max_spikes={self.max_spikes} must be at least 1, or None for no limit")
        if self.reset not in get_args(Reset):
            raise ValueError(f"reset={self.reset!r} must be one of {', '.join(get_args(Reset))}")

    @classmethod
    def auto(
        cls,
        alpha_v: float,
        alpha_i: float,
        time_steps: int,
        threshold: float = 1.0,
        max_spikes: int | None = None,
        reset: Reset = "both",
    ) -> Neuron:
        """The neuron whose PSP peaks at exactly the threshold for one input spike through weight 1 (``beta_auto``).

        β_I = 1,  β_V = β_b = θ / max_{t<T} Σ_{k=0..t} α_I^k α_V^{t−k}

        Examples:
            >>> Neuron.auto(0.9, 0.9, 100).beta_v * unit_psp_peak(0.9, 0.9, 100)
            1.0
        """
        beta = threshold / unit_psp_peak(alpha_v, alpha_i, time_steps)
        return cls(alpha_v, alpha_i, beta, 1.0, beta, threshold, max_spikes, reset)

    def with_tensors(self, **constants: Tensor) -> TensorNeuron:
        """The same neuron with tensors for some constants, broadcastable to [*N]."""
        return TensorNeuron(**({one.name: getattr(self, one.name) for one in fields(self)} | constants))


@dataclass(frozen=True, eq=False)
class TensorNeuron(Neuron):
    """The neurons of one layer, of whose constants some are tensors; they are in range as they are."""

    def __post_init__(self) -> None:
        """Nothing to check."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The constants that are tensors, by name."""
        return {one.name: value for one in fields(self) if isinstance(value := getattr(self, one.name), Tensor)}


def unit_psp_peak(alpha_v: float, alpha_i: float, time_steps: int) -> float:
    """max_{t<T} Σ_{k=0..t} α_I^k α_V^{t−k}: the peak of the PSP when β_I = β_V = 1.

    Examples:
        >>> unit_psp_peak(0.5, 0.0, 10), unit_psp_peak(0.5, 0.5, 10)
        (1.0, 1.0)
    """
    current, potential, peak = 1.0, 0.0, 0.0
    for _ in range(time_steps):
        potential = alpha_v * potential + current
        current *= alpha_i
        peak = max(peak, potential)
    return peak


def centre_bias(neuron: Neuron, time_steps: int) -> float:
    """The bias with which a neuron without input first reaches θ in the middle of the window (SPEC 4).

    b = θ / (β_b Σ_{k=0..T/2} α_V^k)

    Examples:
        >>> centre_bias(Neuron(1.0, 0.0, 1.0), 18)
        0.1
    """
    return neuron.threshold / (neuron.beta_bias * sum(neuron.alpha_v**k for k in range(time_steps // 2 + 1)))
