"""Two channels of the same spikes: the autograd functions that tie a learning rule to the time loops.

A layer returns ``spikes`` (0/1) and ``times`` (the step at each spike, 0 elsewhere). Autograd then carries two
gradients by itself: dL/dS, the activation error, and dL/dt̂, the timing error. Between layers the timing channel carries
nothing forward, only its gradient back: :func:`connect` therefore hands on a placeholder without memory, not W·t̂.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..autograd import first_derivative_only
from ..equations import values
from ..kernels import reference
from ..neuron.lif import Neuron
from ..rules.layer_rule import LayerRule, LayerRun
from ..rules.rule import LATER, Rule
from .synapses import Synapses


class _Connect(torch.autograd.Function):
    """drive = W·S; backward: dL/dS = Wᵀ dL/ddrive, dL/dt̂ = S·Wᵀ dL/dshift, dL/dW from the activation channel alone.

    The factor S is the height of the spike that moves: 0 or 1, or between them behind average pooling.
    """

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, times: Tensor, weight: Tensor, synapses: Synapses) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(spikes, weight)
        ctx.synapses = synapses
        drive = synapses.drive(spikes, weight)
        shift = drive.new_zeros(()).expand(drive.shape)
        if not ctx.needs_input_grad[1]:
            ctx.mark_non_differentiable(shift)
        return drive, shift

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error: Tensor, error_t: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        spikes, weight = ctx.saved_tensors
        to_spikes, to_times, to_weight, _ = ctx.needs_input_grad
        return (
            ctx.synapses.pull_back(error, weight, spikes) if to_spikes else None,
            ctx.synapses.pull_back(error_t, weight, spikes).mul_(spikes) if to_times else None,
            ctx.synapses.weight_gradient(error, weight, spikes) if to_weight else None,
            None,
        )


class _Fire(torch.autograd.Function):
    """From the drive to spikes and times; backward: the learning rule, then the reverse-time scan."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, shift: Tensor, bias: Tensor, neuron: Neuron, rule: Rule
    ) -> tuple[Tensor, Tensor]:
        trajectory = reference.forward(drive, bias, neuron, rule.asks_for("current", "lost_current"))
        ctx.save_for_backward(*trajectory, bias)
        ctx.neuron, ctx.rule = neuron, rule
        return trajectory.spikes_TBN, _times(trajectory.spikes_TBN)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error_S: Tensor, error_t: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        *trajectory, bias = ctx.saved_tensors
        neuron, rule, spikes = ctx.neuron, ctx.rule, trajectory[0]
        error = membrane_error(error_S, error_t, reference.Trajectory(*trajectory), bias, neuron, rule)
        scan = reference.adjoint(error, spikes, neuron, rule.through_reset, ctx.needs_input_grad[1])
        grad_bias = neuron.beta_bias * scan.potential_TBN.sum_to_size(1, 1, *bias.shape).view(bias.shape)
        return scan.drive_TBN, scan.shift_TBN, grad_bias, None, None


class _Layer(torch.autograd.Function):
    """Synapses and neurons at once, for rules that differentiate whole layers."""

    @staticmethod
    def forward(
        ctx: Any,
        spikes: Tensor,
        times: Tensor,
        weight: Tensor,
        bias: Tensor,
        synapses: Synapses,
        neuron: Neuron,
        rule: LayerRule,
    ) -> tuple[Tensor, Tensor]:
        trajectory = reference.forward(synapses.drive(spikes, weight), bias, neuron, keep_current=True)
        ctx.save_for_backward(spikes, weight, bias, *trajectory)
        ctx.synapses, ctx.neuron, ctx.rule = synapses, neuron, rule
        return trajectory.spikes_TBN, _times(trajectory.spikes_TBN)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error_S: Tensor, error_t: Tensor) -> tuple[Tensor | None, ...]:
        heard, weight, bias, *trajectory = ctx.saved_tensors
        run = LayerRun(heard, weight, ctx.synapses, bias, reference.Trajectory(*trajectory), ctx.neuron)
        found = ctx.rule.differentiate_layer(run, error_S, error_t)
        grad_bias = ctx.neuron.beta_bias * found.potential.sum_to_size(1, 1, *bias.shape).view(bias.shape)
        return found.spikes, found.times, found.weight, grad_bias, None, None, None


def differentiated(
    spikes: Tensor, times: Tensor, weight: Tensor, bias: Tensor, synapses: Synapses, neuron: Neuron, rule: LayerRule
) -> tuple[Tensor, Tensor]:
    """:func:`connect` and :func:`fire` for a rule that differentiates whole layers."""
    return _Layer.apply(spikes, times, weight, bias, synapses, neuron, rule)


def _times(spikes: Tensor) -> Tensor:
    """The step at each spike, 0 elsewhere."""
    steps = torch.arange(len(spikes), dtype=spikes.dtype, device=spikes.device)
    return spikes * steps.view(-1, *[1] * (spikes.dim() - 1))


def membrane_error(
    error_S: Tensor, error_t: Tensor, trajectory: reference.Trajectory, bias: Tensor, neuron: Neuron, rule: Rule
) -> Tensor | Callable[[int, Tensor, Tensor], Tensor]:
    """δV by the rule's equation: of the whole window, or a function of t and the later errors of the same neuron.

    Args:
        error_S, error_t: the errors of spikes and spike times, [T, B, *N].
        trajectory: the states of the layer.
        bias: broadcastable to [*N].
        neuron, rule: whose constants, settings and equation these are.
    """
    known = _quantities(error_S, error_t, trajectory, bias, neuron, rule)
    names, settings = rule.parameters(), rule.settings()
    allowed = reference.may_fire(trajectory.spikes_TBN, neuron)

    def at(t: int | slice, **later: Tensor) -> Tensor:
        here = {name: value[t] if name in WINDOWS else value for name, value in known.items()}
        error = rule.equation(*values(names, later, here, settings))
        error = torch.zeros_like(trajectory.potential_TBN[t]) + error  # an equation may give one number for all
        return error if allowed is None else torch.where(allowed[t], error, 0)

    if rule.asks_for(*LATER):
        return lambda t, d_potential, d_current: at(t, later_error=d_potential, later_current_error=d_current)
    return at(slice(None))


WINDOWS = {
    "error_S",
    "error_t",
    "spikes",
    "potential",
    "slope",
    "current",
    "surrogate",
    "lost_potential",
    "lost_current",
}
"""Quantities that have a value in every step."""


def _quantities(
    error_S: Tensor, error_t: Tensor, trajectory: reference.Trajectory, bias: Tensor, neuron: Neuron, rule: Rule
) -> dict[str, Any]:
    """What the equation asks for, in so far as it is known before the scan."""
    spikes, potential, current = trajectory
    subtracts = neuron.reset == "subtract"
    makers: dict[str, Callable[[], Any]] = {
        "error_S": lambda: error_S,
        "error_t": lambda: error_t,
        "spikes": lambda: spikes != 0,
        "potential": lambda: potential,
        "slope": lambda: reference.slope(potential, spikes, neuron),
        "current": lambda: current,
        "bias": lambda: neuron.beta_bias * bias,
        "surrogate": lambda: rule.surrogate(potential, neuron.threshold),  # type: ignore[misc]
        "lost_potential": lambda: torch.full_like(potential, neuron.threshold) if subtracts else potential,
        "lost_current": lambda: current if neuron.reset == "both" else torch.zeros_like(potential),
        "count": lambda: spikes.sum(0),
        "theta": lambda: neuron.threshold,
        "keeps_potential": lambda: float(subtracts),
    }
    constants = {name: getattr(neuron, name) for name in ("alpha_v", "alpha_i", "beta_v", "beta_i")}
    return {name: make() for name, make in makers.items() if rule.asks_for(name)} | constants


def connect(spikes: Tensor, times: Tensor, weight: Tensor, synapses: Synapses) -> tuple[Tensor, Tensor]:
    """Send both channels through synapses.

    Args:
        spikes: pre-synaptic spikes [T, B, *M].
        times: pre-synaptic spike times [T, B, *M], in steps.
        weight: the synaptic weights.
        synapses: the kind of connection, dense or convolutional.

    Returns:
        the drive [T, B, *N] and the placeholder through which the timing error comes back.
    """
    return _Connect.apply(spikes, times, weight, synapses)


def fire(drive: Tensor, shift: Tensor, bias: Tensor, neuron: Neuron, rule: Rule) -> tuple[Tensor, Tensor]:
    """Run the neurons of a layer and differentiate them with a learning rule.

    Args:
        drive: weighted input spikes [T, B, *N].
        shift: the timing placeholder from :func:`connect`.
        bias: broadcastable to [*N].
        neuron: the neuron's constants.
        rule: the learning rule.

    Returns:
        ``spikes`` (0/1) and ``times`` (the step at each spike, 0 elsewhere), both [T, B, *N].
    """
    return _Fire.apply(drive, shift, bias, neuron, rule)
