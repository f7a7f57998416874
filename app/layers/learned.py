"""Decays and thresholds that a layer learns, as parameters that no step can drive out of their range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..neuron.lif import Neuron

Learnable = Literal["alpha_v", "alpha_i", "threshold"]
LearnPer = Literal["layer", "neuron"]


class LearnedConstants(nn.Module):
    """Constants of the neurons of one layer as functions of free parameters.

        α = 1 / (1 + e^{−a})          a = ln(α / (1 − α)), within 1 % of ln(τ/Δ) for the usual α > 0.98
        θ = e^{u}                     u = ln θ

    Free parameters in place of a clamp behind each step: α stays between 0 and 1 and θ above 0 whatever the optimiser
    does, its moments fit the numbers that it moves, and a step of a given size changes a time constant and a threshold
    by a given share, whether α is 0.9 or 0.999. The gains β stay as they are at the start, also with ``beta_auto``.

    Args:
        neuron: the constants at the start.
        names: which of them are learned.
        per: one value for the layer, or one for each neuron; in a convolution, whose neurons share weights and bias by
            channel, one for each channel.
        neurons_shape: of the layer.

    Raises:
        ValueError: a name is none of those, or a decay starts at 0 or 1, which no finite parameter stands for.
    """

    def __init__(self, neuron: Neuron, names: Sequence[str], per: LearnPer, neurons_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.names = tuple(names)
        self._axes = [1] * len(neurons_shape)
        if per == "neuron":
            self._axes[0] = neurons_shape[0]
        for name in check_learned(neuron, names, per):
            start = torch.tensor(getattr(neuron, name), dtype=torch.float64)
            free = start.log() if name == "threshold" else start.logit()
            size = self._axes[:1] if per == "neuron" else []
            self.register_parameter(name, nn.Parameter(free.float().expand(size).clone()))

    def values(self) -> dict[str, Tensor]:
        """The learned constants by name, broadcastable to [*N]; gradients flow to the parameters."""
        return {name: self._value(name).view(self._axes) for name in self.names}

    def of(self, neuron: Neuron) -> Neuron:
        """The layer's neurons: ``neuron`` with the learned constants."""
        return neuron.with_tensors(**self.values())

    @torch.no_grad()
    def set(self, **values: Tensor | float) -> None:
        """Give constants other values, broadcastable to the parameters, as reading a file does."""
        for name, value in values.items():
            free, start = getattr(self, name), torch.as_tensor(value, dtype=torch.float64)
            free.copy_((start.log() if name == "threshold" else start.logit()).expand_as(free))

    def _value(self, name: str) -> Tensor:
        free: Tensor = getattr(self, name)
        return free.exp() if name == "threshold" else free.sigmoid()

    def extra_repr(self) -> str:
        """What is learned, for print(network)."""
        return ", ".join(self.names)


def check_learned(neuron: Neuron, names: Sequence[str], per: str) -> Sequence[str]:
    """Refuse what cannot be learned; returns the names.

    Raises:
        ValueError: see :class:`LearnedConstants`.
    """
    for name in names:
        if name not in get_args(Learnable):
            raise ValueError(
                f"learn={name} is no constant that can be learned; choose {', '.join(get_args(Learnable))}"
            )
        if names.count(name) > 1:
            raise ValueError(f"learn holds {name} twice: name it once")
        if name != "threshold" and not 0 < getattr(neuron, name) < 1:
            raise ValueError(
                f"learn={name} starts at {name}={getattr(neuron, name):g}, the end of its range, which no finite "
                "parameter stands for; start between 0 and 1"
            )
    if per not in get_args(LearnPer):
        raise ValueError(f"learn_per={per!r} must be one of {', '.join(get_args(LearnPer))}")
    return names
