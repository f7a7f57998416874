"""Two channels of the same spikes: the autograd functions that tie a learning rule to the time loops.

A layer returns ``spikes`` (0/1) and ``times`` (the step at each spike, 0 elsewhere). Autograd then carries two
gradients by itself: dL/dS, the activation error, and dL/dt̂, the timing error. Between layers the timing channel carries
nothing forward, only its gradient back: :func:`connect` therefore hands on a placeholder without memory, not W·t̂.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..autograd import Function, first_derivative_only
from ..equations import values
from ..kernels import reference
from ..neuron.lif import Neuron, TensorNeuron
from ..rules.layer_rule import LayerRule, LayerRun
from ..rules.rule import LATER, Rule
from .synapses import Synapses


class _Connect(Function):
    """drive = W·S; backward: dL/dS = Wᵀ dL/ddrive, dL/dt̂ = S·Wᵀ dL/dshift, dL/dW from the activation channel alone.

    The factor S is the height of the spike that moves: 0 or 1, or between them behind average pooling. A delay moves
    the spike that comes out of it: dL/ddelay is its share of dL/dt̂ (:class:`app.layers.delays.Delayed`).
    """

    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, times: Tensor, weight: Tensor, delay_steps: Tensor | None, synapses: Synapses
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(spikes, weight)
        ctx.synapses = synapses
        drive = synapses.drive(spikes, weight)
        shift = drive.new_zeros(()).expand(drive.shape)
        if not (ctx.needs_input_grad[1] or ctx.needs_input_grad[3]):
            ctx.mark_non_differentiable(shift)
        return drive, shift

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error: Tensor, error_t: Tensor) -> tuple[Tensor | None, ...]:
        spikes, weight = ctx.saved_tensors
        to_spikes, to_times, to_weight, to_delays, _ = ctx.needs_input_grad
        return (
            ctx.synapses.pull_back(error, weight, spikes) if to_spikes else None,
            ctx.synapses.pull_back(error_t, weight, spikes).mul_(spikes) if to_times else None,
            ctx.synapses.weight_gradient(error, weight, spikes) if to_weight else None,
            ctx.synapses.delay_gradient(error_t, weight, spikes) if to_delays else None,
            None,
        )


class _Fire(Function):
    """From the drive to spikes and times; backward: the learning rule, then the reverse-time scan.

    With W_rec the drive of step t is drive[t] + W_rec S[t−1]: a spike of step t is an input spike of step t + 1. Back
    in time, what step t + 1 leaves behind - e_S = β_I δI, the error of an input spike, and e_t = −Σ_τ ε*[τ] δV[t+1+τ],
    that of its time - reaches the spikes of step t before the rule looks at them, as it does from the layer above:

        δS[t] += W_recᵀ e_S[t+1]        δt̂[t] += S[t] W_recᵀ e_t[t+1]        dL/dW_rec = Σ_{b,t} e_S[t+1] S[t]ᵀ

    Both are the sums over the post-synaptic potential that SPEC 2 has for δS_pre and δt̂_pre, one step later.
    """

    @staticmethod
    def forward(
        ctx: Any,
        drive: Tensor,
        shift: Tensor,
        bias: Tensor,
        recurrent: Tensor | None,
        neuron: Neuron,
        rule: Rule,
        *learned: Tensor,
    ) -> tuple[Tensor, Tensor]:
        if isinstance(neuron, TensorNeuron):
            neuron = neuron.with_tensors(**dict(zip(neuron.tensors, learned, strict=True)))  # apart from their graph
        keep_current = rule.asks_for("current", "lost_current") or isinstance(neuron.alpha_i, Tensor)
        trajectory = reference.forward(drive, bias, neuron, keep_current, recurrent)
        ctx.save_for_backward(*trajectory, bias, recurrent)
        ctx.neuron, ctx.rule = neuron, rule
        return trajectory.spikes_TBN, _times(trajectory.spikes_TBN)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, error_S: Tensor, error_t: Tensor) -> tuple[Tensor | None, ...]:
        *states, bias, recurrent = ctx.saved_tensors
        neuron, rule, trajectory = ctx.neuron, ctx.rule, reference.Trajectory(*states)
        error = membrane_error(error_S, error_t, trajectory, bias, neuron, rule, recurrent)
        need_shift = ctx.needs_input_grad[1] or (recurrent is not None and rule.learns_from_times)
        spikes = trajectory.spikes_TBN
        scan = reference.adjoint(error, spikes, neuron, rule.through_reset, need_shift)
        grad_bias = neuron.beta_bias * scan.potential_TBN.sum_to_size(1, 1, *bias.shape).view(bias.shape)
        grad_recurrent = None
        if recurrent is not None:
            grad_recurrent = scan.drive_TBN[1:].flatten(0, 1).t() @ spikes[:-1].flatten(0, 1)
        shift = scan.shift_TBN if ctx.needs_input_grad[1] else None
        of_constants: list[Tensor] = []
        if isinstance(neuron, TensorNeuron):
            given = neuron.tensors
            found = reference.constants_gradient(given, scan, trajectory, neuron, rule.through_reset)
            of_constants = [found[name].sum_to_size(1, 1, *own.shape).view(own.shape) for name, own in given.items()]
        return scan.drive_TBN, shift, grad_bias, grad_recurrent, None, None, *of_constants


class _Layer(Function):
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
    channels: tuple[Tensor, Tensor] = _Layer.apply(spikes, times, weight, bias, synapses, neuron, rule)
    return channels


def _times(spikes: Tensor) -> Tensor:
    """The step at each spike, 0 elsewhere."""
    steps = torch.arange(len(spikes), dtype=spikes.dtype, device=spikes.device)
    return spikes * steps.view(-1, *[1] * (spikes.dim() - 1))


def membrane_error(
    error_S: Tensor,
    error_t: Tensor,
    trajectory: reference.Trajectory,
    bias: Tensor,
    neuron: Neuron,
    rule: Rule,
    recurrent: Tensor | None = None,
) -> Tensor | Callable[[int, reference.Later], Tensor]:
    """δV by the rule's equation: of the whole window, or a function of t and the later errors of the same layer.

    Args:
        error_S, error_t: the errors of spikes and spike times, [T, B, *N].
        trajectory: the states of the layer.
        bias: broadcastable to [*N].
        neuron, rule: whose constants, settings and equation these are.
        recurrent: W_rec [N, N] of a layer that hears its own spikes.
    """
    known = _quantities(error_S, error_t, trajectory, bias, neuron, rule)
    names, settings = rule.parameters(), rule.settings()
    allowed = reference.may_fire(trajectory.spikes_TBN, neuron)

    def at(t: int | slice, **changed: Tensor) -> Tensor:
        here = {name: value[t] if name in WINDOWS else value for name, value in known.items()}
        error = rule.equation(*values(names, changed, here, settings))
        error = torch.zeros_like(trajectory.potential_TBN[t]) + error  # an equation may give one number for all
        return error if allowed is None else torch.where(allowed[t], error, 0)

    def behind(t: int, later: reference.Later) -> Tensor:
        changed = {"later_error": later.potential_BN, "later_current_error": later.current_BN}
        if recurrent is not None and "error_S" in names:
            changed["error_S"] = error_S[t] + later.drive_BN @ recurrent
        if recurrent is not None and "error_t" in names:
            assert later.shift_BN is not None  # a recurrent layer's scan keeps it for a rule that learns from times
            changed["error_t"] = error_t[t] + later.shift_BN @ recurrent * trajectory.spikes_TBN[t]
        return at(t, **changed)

    if recurrent is not None or rule.asks_for(*LATER):
        return behind
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
        "surrogate": lambda: cast("Callable[..., Tensor]", rule.surrogate)(potential, neuron.threshold),
        "lost_potential": lambda: torch.zeros_like(potential) + neuron.threshold if subtracts else potential,
        "lost_current": lambda: current if neuron.reset == "both" else torch.zeros_like(potential),
        "count": lambda: spikes.sum(0),
        "theta": lambda: neuron.threshold,
        "keeps_potential": lambda: float(subtracts),
    }
    constants = {name: getattr(neuron, name) for name in ("alpha_v", "alpha_i", "beta_v", "beta_i")}
    return {name: make() for name, make in makers.items() if rule.asks_for(name)} | constants


def connect(
    spikes: Tensor, times: Tensor, weight: Tensor, synapses: Synapses, delay_steps: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Send both channels through synapses.

    Args:
        spikes: pre-synaptic spikes [T, B, *M].
        times: pre-synaptic spike times [T, B, *M], in steps.
        weight: the synaptic weights.
        synapses: the kind of connection, dense or convolutional.
        delay_steps: the delays of :class:`app.layers.delays.Delayed` synapses, which get their gradient.

    Returns:
        the drive [T, B, *N] and the placeholder through which the timing error comes back.
    """
    drive_and_shift: tuple[Tensor, Tensor] = _Connect.apply(spikes, times, weight, delay_steps, synapses)
    return drive_and_shift


def fire(
    drive: Tensor, shift: Tensor, bias: Tensor, neuron: Neuron, rule: Rule, recurrent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the neurons of a layer and differentiate them with a learning rule.

    Args:
        drive: weighted input spikes [T, B, *N].
        shift: the timing placeholder from :func:`connect`.
        bias: broadcastable to [*N].
        neuron: the neuron's constants; those that are tensors get gradients.
        rule: the learning rule.
        recurrent: W_rec [N, N] of a layer that hears its own spikes of the step before.

    Returns:
        ``spikes`` (0/1) and ``times`` (the step at each spike, 0 elsewhere), both [T, B, *N].
    """
    learned = neuron.tensors.values() if isinstance(neuron, TensorNeuron) else ()
    channels: tuple[Tensor, Tensor] = _Fire.apply(drive, shift, bias, recurrent, neuron, rule, *learned)
    return channels
