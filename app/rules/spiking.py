"""Two channels of the same spikes: the autograd functions that tie a learning rule to the time loops.

A layer returns ``spikes`` (0/1) and ``times`` (the step at each spike, 0 elsewhere). Autograd then carries two
gradients by itself: dL/dS, the activation error, and dL/dt̂, the timing error. Between layers the timing channel carries
nothing forward, only its gradient back: :func:`connect` therefore hands on a placeholder without memory, not W·t̂.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..kernels import reference
from ..neuron.lif import Neuron
from .rule import Rule
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
    @once_differentiable
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
        trajectory = reference.forward(drive, bias, neuron, keep_current=rule.variant == "rnn")
        ctx.save_for_backward(*trajectory, bias)
        ctx.neuron, ctx.rule = neuron, rule
        steps = torch.arange(len(drive), dtype=drive.dtype, device=drive.device)
        times = trajectory.spikes_TBN * steps.view(-1, *[1] * (drive.dim() - 1))
        return trajectory.spikes_TBN, times

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error_S: Tensor, error_t: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        spikes, potential, current, bias = ctx.saved_tensors
        neuron, rule = ctx.neuron, ctx.rule
        error = rule.membrane_error(error_S, error_t, spikes, potential, neuron.threshold)
        paths = None
        if rule.variant == "rnn":
            paths = reference.ResetPaths(rule.surrogate(potential, neuron.threshold), potential, current)
        allowed = reference.may_fire(spikes, neuron)
        if allowed is not None:
            error = error * allowed
            paths = paths and paths._replace(surrogate_TBN=paths.surrogate_TBN * allowed)
        scan = reference.adjoint(error, spikes, neuron, rule.variant == "slayer", paths, ctx.needs_input_grad[1])
        grad_bias = neuron.beta_bias * scan.potential_TBN.sum_to_size(1, 1, *bias.shape).view(bias.shape)
        return scan.drive_TBN, scan.shift_TBN, grad_bias, None, None


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
