"""Rules that are more than one pointwise equation: they differentiate a whole layer at once.

A rule whose errors belong to spike counts, or that normalises the errors of a layer, has no δV of its own at every
step. It says instead how the gradients of a layer's parameters and the errors for the layer below follow from the
errors of its spikes. The plain engine runs it; compiled engines know equations only and stand aside.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor

from ..kernels.reference import Trajectory
from ..neuron.lif import Neuron
from .rule import Rule


class Transposes(Protocol):
    """The two transposes of a layer's synapses, see :class:`app.layers.synapses.Synapses`."""

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Wᵀ·error: from [T, B, *N] to the shape of ``spikes``."""

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Σ_{t,b} error·spikesᵀ, in the shape of ``weight``."""


class LayerRun(NamedTuple):
    """What a layer did in a batch.

    Args:
        heard: the spikes that came in, [T, B, *M].
        weight, synapses: through what.
        bias: broadcastable to [*N].
        trajectory: the states, with the current.
        neuron: the constants.
    """

    heard: Tensor
    weight: Tensor
    synapses: Transposes
    bias: Tensor
    trajectory: Trajectory
    neuron: Neuron


class LayerErrors(NamedTuple):
    """What goes on from a layer.

    Args:
        weight: dL/dW.
        potential: δV_dep, whose sum over time and batch is the gradient of the bias divided by β_b; [T, B, *N].
        spikes, times: the activation and the timing error of the spikes that came in, [T, B, *M]; None for no error.
    """

    weight: Tensor
    potential: Tensor
    spikes: Tensor | None = None
    times: Tensor | None = None


class LayerRule(Rule):
    """A rule that differentiates whole layers; a subclass is a frozen dataclass that adds settings.

    Attributes:
        errors: which errors matter to it: ``error_S``, ``error_t`` or both.
    """

    errors: ClassVar[tuple[str, ...]]

    def parameters(self) -> tuple[str, ...]:
        """The errors that matter, in the place of what an equation asks for."""
        return self.errors

    def differentiate_layer(self, run: LayerRun, error_S: Tensor, error_t: Tensor) -> LayerErrors:
        """The gradients of a layer and the errors for the layer below.

        Args:
            run: what the layer did.
            error_S, error_t: the errors of its spikes and their times, [T, B, *N].
        """
        raise NotImplementedError
