"""Delays: a spike takes d steps from one layer to the next, and d is learned.

    drive_i[t] = Σ_j w_ij S_j[t − d_ij]

with d_ij a number of each synapse (``synaptic``), of its input neuron (``axonal``: d_j) or of its own (``dendritic``:
d_i). Delays are learned as real numbers and rounded to whole steps, half to even, where spikes take them; the rounding
is left out of the gradient (straight-through). A spike that comes out behind the window is lost.

Gradient: with e_i[t] = −Σ_{τ≥0} ε*[τ] δV_i[t+τ], the error of the time of a unit-weight input spike (SPEC 2), and
because a delay that is longer by one step is an input spike that is later by one,

    dL/dd_ij = w_ij Σ_{b,t} S_j[t] e_i[t + d_ij],

the synapse's share of δt̂_j; an axon's is the sum over i, a dendrite's over j. It asks for δV alone, whichever errors
the rule makes it of: the activation rule learns delays as SLAYER does (Shrestha & Orchard 2018), the timing rule as
SpikeProp with delays (Schrauwen & Van Campenhout 2004).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .synapses import Dense

Kind = Literal["axonal", "dendritic", "synaptic"]
LONGEST = 1024
"""Steps; synaptic delays take time and memory in proportion."""


@dataclass(frozen=True)
class Delays:
    """The delays of the fully connected layers of a network.

    Args:
        kind: one delay per input neuron, per neuron of the layer, or per synapse.
        max_steps: delays stay between 0 and so many steps, between which they start uniformly.
        learn: whether training changes them.

    Raises:
        ValueError: an unknown kind or an impossible range.
    """

    kind: Kind
    max_steps: int
    learn: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} must be one of {', '.join(get_args(Kind))}")
        if not 1 <= self.max_steps <= LONGEST:
            raise ValueError(f"max_steps={self.max_steps} must be from 1 to {LONGEST}")

    def shape(self, weight_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the delays of a layer with weights [N, M]: [M], [N] or [N, M]."""
        return {"axonal": weight_shape[1:], "dendritic": weight_shape[:1], "synaptic": weight_shape}[self.kind]

    def synapses(self, delay_steps: Tensor) -> Delayed:
        """Synapses with these delays, rounded to whole steps."""
        kinds = {"axonal": Axonal, "dendritic": Dendritic, "synaptic": Synaptic}
        return kinds[self.kind](self.whole(delay_steps), self.inside(delay_steps))

    def whole(self, delay_steps: Tensor) -> Tensor:
        """Delays in whole steps, int64: what spikes take."""
        return delay_steps.detach().clamp(0, self.max_steps).round().long()

    def inside(self, delay_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Where a delay may still become shorter, and where it may still become longer."""
        return delay_steps.detach() > 0, delay_steps.detach() < self.max_steps


def later(values_TBN: Tensor, steps_N: Tensor) -> Tensor:
    """values[t − steps_n, b, n], 0 before the window."""
    from_T1N = torch.arange(len(values_TBN), device=values_TBN.device)[:, None, None] - steps_N
    return values_TBN.gather(0, from_T1N.clamp(min=0).expand_as(values_TBN)).masked_fill(from_T1N < 0, 0)


def earlier(values_TBN: Tensor, steps_N: Tensor) -> Tensor:
    """values[t + steps_n, b, n], 0 behind the window: the transpose of :func:`later`."""
    last = len(values_TBN) - 1
    from_T1N = torch.arange(last + 1, device=values_TBN.device)[:, None, None] + steps_N
    return values_TBN.gather(0, from_T1N.clamp(max=last).expand_as(values_TBN)).masked_fill(from_T1N > last, 0)


@dataclass(frozen=True)
class Delayed:
    """Dense synapses (:class:`app.layers.synapses.Synapses`) that take time.

    Args:
        steps: delays in whole steps, int64.
        may_change: where delays may still become shorter, and longer; gradients that lead out of the range are 0.
    """

    steps: Tensor
    may_change: tuple[Tensor, Tensor]

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """Σ_j w_ij S_j[t − d_ij], [T, B, N]."""
        raise NotImplementedError

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Σ_i w_ij error_i[t + d_ij], [T, B, M]."""
        raise NotImplementedError

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Σ_{t,b} error_i[t + d_ij] S_j[t], [N, M]."""
        raise NotImplementedError

    def delay_gradient(self, error_t: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The equation of the module, of the errors of the times of unit-weight input spikes, [T, B, N]."""
        gradient = self._delay_gradient(error_t, weight, spikes)
        shorter, longer = self.may_change
        return torch.where(gradient > 0, gradient * shorter, gradient * longer)

    def _delay_gradient(self, error_t: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        raise NotImplementedError


class Axonal(Delayed):
    """One delay per input neuron."""

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """The synapses hear delayed spikes."""
        return Dense().drive(later(spikes, self.steps), weight)

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The transpose of :meth:`drive`."""
        return earlier(Dense().pull_back(error, weight, spikes), self.steps)

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Of delayed spikes."""
        return Dense().weight_gradient(error, weight, later(spikes, self.steps))

    def _delay_gradient(self, error_t: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        return (self.pull_back(error_t, weight, spikes) * spikes).sum((0, 1))


class Dendritic(Delayed):
    """One delay per neuron of the layer."""

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """The neurons hear a delayed drive."""
        return later(Dense().drive(spikes, weight), self.steps)

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """The transpose of :meth:`drive`."""
        return Dense().pull_back(earlier(error, self.steps), weight, spikes)

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Of earlier errors."""
        return Dense().weight_gradient(earlier(error, self.steps), weight, spikes)

    def _delay_gradient(self, error_t: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        return (error_t * self.drive(spikes, weight)).sum((0, 1))


class Synaptic(Delayed):
    """One delay per synapse: a product of matrices for each delay that occurs, with the weights that have it."""

    def drive(self, spikes: Tensor, weight: Tensor) -> Tensor:
        """Σ_d W_d S[t − d]."""
        found = spikes.new_zeros(*spikes.shape[:2], len(weight))
        for d, has in self._delays(len(spikes)):
            found[d:] += Dense().drive(spikes[: len(spikes) - d], weight * has)
        return found

    def pull_back(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Σ_d W_dᵀ error[t + d]."""
        found = torch.zeros_like(spikes)
        for d, has in self._delays(len(spikes)):
            found[: len(spikes) - d] += Dense().pull_back(error[d:], weight * has, spikes)
        return found

    def weight_gradient(self, error: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        """Of each synapse at its own delay."""
        found = torch.zeros_like(weight)
        for d, has in self._delays(len(spikes)):
            found += has * Dense().weight_gradient(error[d:], weight, spikes[: len(spikes) - d])
        return found

    def _delay_gradient(self, error_t: Tensor, weight: Tensor, spikes: Tensor) -> Tensor:
        return weight * self.weight_gradient(error_t, weight, spikes)

    def _delays(self, time_steps: int) -> list[tuple[int, Tensor]]:
        """The delays that occur and lead somewhere, and which synapses have each."""
        return [(d, self.steps == d) for d in self.steps.unique().tolist() if d < time_steps]
