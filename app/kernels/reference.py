"""The time loops in plain PyTorch: the definition that every fast backend is compared with.

Any dtype, any device, any layer shape: N stands for all axes behind the batch axis. Scalars multiply before they are
added, never fused, so that a fast backend can reproduce every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..neuron.lif import Neuron


class Trajectory(NamedTuple):
    """The states of one layer over a window, each [T, B, N]: before the reset, as the equations of SPEC 1 name them."""

    spikes_TBN: Tensor
    potential_TBN: Tensor
    current_TBN: Tensor | None


class Later(NamedTuple):
    """The errors of the step behind the one that a reverse-time scan has come to, each [B, N]; 0 behind the window.

    Args:
        potential_BN, current_BN: δV_dep[t+1] and δI[t+1].
        drive_BN, shift_BN: those of a unit-weight input spike at t+1 and of its time; no shift where none is needed.
    """

    potential_BN: Tensor
    current_BN: Tensor
    drive_BN: Tensor
    shift_BN: Tensor | None


class Adjoint(NamedTuple):
    """What one reverse-time scan yields, each [T, B, N].

    Args:
        potential_TBN: δV_dep, the gradient with respect to the membrane potential along all paths.
        drive_TBN: β_I δI, the gradient with respect to the weighted input spikes.
        shift_TBN: −Σ_τ ε*[τ] δV[t+τ], the gradient with respect to the time of a unit-weight input spike at step t.
    """

    potential_TBN: Tensor
    drive_TBN: Tensor
    shift_TBN: Tensor | None


def _after_spike(state: Tensor, spike: Tensor, lost: Tensor | float) -> Tensor:
    """A state behind a spike that takes ``lost`` from it; all of it, then it is exactly 0."""
    return state.masked_fill(spike, 0) if lost is state else torch.where(spike, state - lost, state)


def forward(
    drive_TBN: Tensor,
    bias_N: Tensor,
    neuron: Neuron,
    keep_current: bool = False,
    recurrent_NN: Tensor | None = None,
) -> Trajectory:
    """Run the neuron over the whole window (SPEC 1).

    Args:
        drive_TBN: Σ_i w_i S_i[t], the weighted input spikes.
        bias_N: b, broadcast over time and batch.
        neuron: the constants.
        keep_current: also return I (for rules that ask for it).
        recurrent_NN: W_rec, through which the layer hears its own spikes of the step before: W_rec S[t−1] joins the
            drive of step t.
    """
    spikes, potential = torch.empty_like(drive_TBN), torch.empty_like(drive_TBN)
    currents = torch.empty_like(drive_TBN) if keep_current else None
    current, voltage = torch.zeros_like(drive_TBN[0]), torch.zeros_like(drive_TBN[0])
    limit = neuron.max_spikes
    fired = torch.zeros_like(voltage) if limit is not None else None
    bias = neuron.beta_bias * bias_N
    for t in range(len(drive_TBN)):
        drive = drive_TBN[t]
        if recurrent_NN is not None and t > 0:
            drive = drive + spikes[t - 1] @ recurrent_NN.t()
        current = current * neuron.alpha_i + drive * neuron.beta_i
        voltage = voltage * neuron.alpha_v + current * neuron.beta_v + bias
        spike = voltage >= neuron.threshold
        if fired is not None and limit is not None:
            spike = spike & (fired < limit)
            fired += spike
        spikes[t], potential[t] = spike, voltage
        if currents is not None:
            currents[t] = current
        current = current.masked_fill(spike, 0) if neuron.reset == "both" else current
        voltage = _after_spike(voltage, spike, neuron.threshold if neuron.reset == "subtract" else voltage)
    return Trajectory(spikes, potential, currents)


def adjoint(
    error_TBN: Tensor | Callable[[int, Later], Tensor],
    spikes_TBN: Tensor,
    neuron: Neuron,
    through_reset: bool = False,
    need_shift: bool = True,
) -> Adjoint:
    """Scan backwards from the membrane error δV = dL/dV to the errors of everything that V depends on (SPEC 2).

        δV_dep[t] = δV[t] + α_V (1 − S[t]) δV_dep[t+1]
        δI[t]     = β_V δV_dep[t] + α_I (1 − S[t]) δI[t+1]

    A state that a spike does not set to 0 has no factor (1 − S): the current with ``reset="potential"``, both states
    with ``reset="subtract"``. The timing sum over ε* needs no state of its own. Truncated at the next spike
    (inclusive), Σ ε[τ] δV[t+τ] is β_I δI[t] and Σ α_V^τ δV[t+τ] is δV_dep[t]; with
    ε[τ+1] = α_I ε[τ] + β_I β_V α_V^{τ+1} this gives

        Σ_{τ≥0} ε*[τ] δV[t+τ] = β_I (α_I δI[t] + β_V α_V δV_dep[t] − (1 − S[t]) δI[t+1]) / 2.

    Args:
        error_TBN: δV from the learning rule, or a function of t and the later errors that gives δV[t].
        spikes_TBN: the layer's own spikes, 0/1.
        neuron: the constants.
        through_reset: leave the factors (1 − S[t]) out (variant ``slayer``).
        need_shift: compute ``shift_TBN`` (only a layer below that learns from timing uses it).
    """
    potential, drive = torch.empty_like(spikes_TBN), torch.empty_like(spikes_TBN)
    shift = torch.empty_like(spikes_TBN) if need_shift else None
    d_potential, d_current = torch.zeros_like(spikes_TBN[0]), torch.zeros_like(spikes_TBN[0])
    behind = Later(d_potential, d_current, d_current, d_current if need_shift else None)
    for t in range(len(spikes_TBN) - 1, -1, -1):
        error = error_TBN[t] if isinstance(error_TBN, Tensor) else error_TBN(t, behind)
        spiked = spikes_TBN[t] != 0
        if not through_reset and neuron.reset != "subtract":
            d_potential = d_potential.masked_fill(spiked, 0)
        if not through_reset and neuron.reset == "both":
            d_current = d_current.masked_fill(spiked, 0)
        later = d_current
        d_potential = error + neuron.alpha_v * d_potential
        d_current = neuron.beta_v * d_potential + neuron.alpha_i * d_current
        potential[t], drive[t] = d_potential, neuron.beta_i * d_current
        if shift is not None:
            ahead = neuron.alpha_i * d_current + neuron.beta_v * neuron.alpha_v * d_potential
            shift[t] = (later - ahead) * (neuron.beta_i / 2)
        behind = Later(d_potential, d_current, drive[t], None if shift is None else shift[t])
    return Adjoint(potential, drive, shift)


def constants_gradient(
    names: Iterable[str], scan: Adjoint, trajectory: Trajectory, neuron: Neuron, through_reset: bool = False
) -> dict[str, Tensor]:
    """dL/dα_V, dL/dα_I and dL/dθ of each neuron, step and sample, from the scan (not yet summed), [T, B, N].

    A decay acts on what a step leaves to the next one, V⁺ and I⁺ (behind the spike), and the errors of V and I along
    all later paths are in the scan. The threshold acts where V meets it, and there the rules (a surrogate, or a time
    at which V = θ) know V − θ alone, so that a higher θ is a lower V, but for what V hands on to the next step:

        dL/dα_V = Σ_t δV_dep[t] V⁺[t−1]        dL/dα_I = Σ_t δI[t] I⁺[t−1]
        dL/dθ   = −Σ_t (δV_dep[t] − α_V (1 − S[t]) δV_dep[t+1])

    With V set to 0 by a spike, the last line is −Σ_t δV[t] with δV the rule's own error. With ``reset="subtract"``
    the scan hands V − θ on behind a spike too; what is left of δV_dep there is δV[t] + α_V S[t] δV_dep[t+1], the
    second term being the θ that the spike takes away. With ``through_reset`` errors pass the reset: no factor (1 − S).

    Args:
        names: of the constants.
        scan: of the layer.
        trajectory: its states, with the current for α_I.
        neuron: the constants.
        through_reset: as in :func:`adjoint`.
    """
    spikes, potential, current = trajectory
    spiked, found = spikes != 0, {}
    if "alpha_v" in names:
        lost = neuron.threshold if neuron.reset == "subtract" else potential
        found["alpha_v"] = _earlier(_after_spike(potential, spiked, lost)) * scan.potential_TBN
    if "alpha_i" in names:
        assert current is not None
        left = current.masked_fill(spiked, 0) if neuron.reset == "both" else current
        found["alpha_i"] = _earlier(left) * scan.drive_TBN / neuron.beta_i
    if "threshold" in names:
        later = torch.cat([scan.potential_TBN[1:], torch.zeros_like(potential[:1])])
        if not through_reset or neuron.reset == "subtract":
            later = later.masked_fill(spiked, 0)
        found["threshold"] = neuron.alpha_v * later - scan.potential_TBN
    return found


def _earlier(state_TBN: Tensor) -> Tensor:
    """The state of the step before, 0 before the first."""
    return torch.cat([torch.zeros_like(state_TBN[:1]), state_TBN[:-1]])


def slope(potential_TBN: Tensor, spikes_TBN: Tensor, neuron: Neuron) -> Tensor:
    """V[t] − V[t−1] with V[t−1] after its reset and V[−1] = 0: the potential's slope per step, [T, B, N]."""
    slope = potential_TBN.clone()
    before, spiked = potential_TBN[:-1], spikes_TBN[:-1] != 0
    slope[1:] -= _after_spike(before, spiked, neuron.threshold if neuron.reset == "subtract" else before)
    return slope


def may_fire(spikes_TBN: Tensor, neuron: Neuron) -> Tensor | None:
    """Where a spike is still allowed under ``max_spikes`` (bool [T, B, N]); None when there is no limit."""
    if neuron.max_spikes is None:
        return None
    fired_TBN = spikes_TBN.int()  # whole numbers: their sums are the same in any order, also on a GPU
    return fired_TBN.cumsum(0, dtype=torch.int32) - fired_TBN < neuron.max_spikes
