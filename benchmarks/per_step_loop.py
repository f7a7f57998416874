"""What a user would write without this project: one Python iteration per time step, dense spikes, plain PyTorch.

The activation-based rule runs through autograd with a surrogate gradient; timing and ANTLR have no autograd form and
follow the published code: a second loop, backwards over layers and steps, with the gradients added step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from app.layers import SpikingLayer
from app.layers.synapses import Conv, Dense
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential
from app.rules.timing import MIN_SLOPE

SURROGATE = Exponential()


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, potential: Tensor) -> Tensor:
        ctx.save_for_backward(potential)
        return (potential >= 1).float()

    @staticmethod
    def backward(ctx, error: Tensor) -> Tensor:
        return SURROGATE(ctx.saved_tensors[0], 1.0) * error


class Hearing(NamedTuple):
    """What a spiking layer does to the spikes below in every step: pooling or flattening, then its synapses."""

    pools: list[nn.Module]
    synapses: Dense | Conv

    def pooled(self, spikes: Tensor) -> Tensor:
        """Spikes of one step behind the pooling, [B, *M]."""
        for pool in self.pools:
            spikes = pool((spikes[None], spikes[None]))[0][0]
        return spikes


def hearings(layers: Iterable[nn.Module]) -> list[Hearing]:
    """One for every spiking layer of a network."""
    found: list[Hearing] = []
    pools: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, SpikingLayer):
            found.append(Hearing(pools, layer.synapses))
            pools = []
        else:
            pools.append(layer)
    return found


def autograd_loop(
    spikes_TBM: Tensor, hears: list[Hearing], weights: list[Tensor], biases: list[Tensor], neuron: Neuron
) -> Tensor:
    """Output spikes [T, B, N], differentiable through the surrogate; the reset is not differentiated."""
    outputs = []
    states: list[tuple[Tensor, ...]] = [(torch.zeros(()),) * 3 for _ in weights]
    for spikes in spikes_TBM:
        for k, (hear, weight, bias) in enumerate(zip(hears, weights, biases, strict=True)):
            current, potential, fired = states[k]
            drive = hear.synapses.drive(hear.pooled(spikes)[None], weight)[0]
            keep = 1 - fired.detach()
            current = neuron.alpha_i * keep * current + neuron.beta_i * drive
            potential = neuron.alpha_v * keep * potential + neuron.beta_v * current + neuron.beta_bias * bias
            spikes = _Spike.apply(potential)
            states[k] = current, potential, spikes
        outputs.append(spikes)
    return torch.stack(outputs)


@torch.no_grad()
def forward_loop(
    spikes_TBM: Tensor, hears: list[Hearing], weights: list[Tensor], biases: list[Tensor], neuron: Neuron
) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes and potentials of every layer, each [T, B, *N]; the input is the first entry of the spikes."""
    spikes_LT: list[list[Tensor]] = [[] for _ in weights]
    potentials_LT: list[list[Tensor]] = [[] for _ in weights]
    states: list[tuple[Tensor, ...]] = [(torch.zeros(()),) * 3 for _ in weights]
    for spikes in spikes_TBM:
        for k, (hear, weight, bias) in enumerate(zip(hears, weights, biases, strict=True)):
            current, potential, fired = states[k]
            drive = hear.synapses.drive(hear.pooled(spikes)[None], weight)[0]
            current = neuron.alpha_i * (1 - fired) * current + neuron.beta_i * drive
            potential = neuron.alpha_v * (1 - fired) * potential + neuron.beta_v * current + neuron.beta_bias * bias
            spikes = (potential >= neuron.threshold).float()
            spikes_LT[k].append(spikes)
            potentials_LT[k].append(potential)
            states[k] = current, potential, spikes
    return [spikes_TBM, *map(torch.stack, spikes_LT)], [*map(torch.stack, potentials_LT)]


def backward_loop(
    error: Tensor,
    error_t: Tensor,
    trains: list[Tensor],
    potentials: list[Tensor],
    hears: list[Hearing],
    weights: list[Tensor],
    biases: list[Tensor],
    neuron: Neuron,
    lambda_act: float,
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of weights and biases from both errors of the output layer, for the timing rule and ANTLR."""
    weight_grads, bias_grads = [torch.zeros_like(w) for w in weights], [torch.zeros_like(b) for b in biases]
    for k in range(len(weights) - 1, -1, -1):
        spikes, potential, before, hear = trains[k + 1], potentials[k], trains[k], hears[k]
        below, below_t = (torch.zeros_like(before), torch.zeros_like(before)) if k else (before, before)
        d_potential, d_current = torch.zeros_like(potential[0]), torch.zeros_like(potential[0])
        for t in range(len(spikes) - 1, -1, -1):
            slope = potential[t] - (1 - spikes[t - 1]) * potential[t - 1] if t else potential[0]
            error_v = -spikes[t] * error_t[t] / slope.clamp(min=MIN_SLOPE)
            if lambda_act:
                error_v = error_v + lambda_act * SURROGATE(potential[t], neuron.threshold) * error[t]
            keep = 1 - spikes[t]
            later = keep * d_current
            d_potential = error_v + neuron.alpha_v * keep * d_potential
            d_current = neuron.beta_v * d_potential + neuron.alpha_i * later
            heard, send_back = _with_way_back(hear, before[t], bool(k))
            weight_grads[k] += neuron.beta_i * hear.synapses.weight_gradient(d_current[None], weights[k], heard[None])
            bias_grads[k] += neuron.beta_bias * d_potential.sum_to_size(1, *biases[k].shape)[0]
            if k:
                shift = later - neuron.alpha_i * d_current - neuron.beta_v * neuron.alpha_v * d_potential
                drive, moved = neuron.beta_i * d_current, neuron.beta_i / 2 * shift
                below[t] = send_back(hear.synapses.pull_back(drive[None], weights[k], heard[None])[0])
                below_t[t] = before[t] * send_back(
                    heard * hear.synapses.pull_back(moved[None], weights[k], heard[None])[0]
                )
        error, error_t = below, below_t
    return weight_grads, bias_grads


def _with_way_back(hear: Hearing, spikes: Tensor, needed: bool) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Spikes of one step behind the pooling, and what brings their errors to those in front of it."""
    if not hear.pools or not needed:
        return hear.pooled(spikes), lambda error: error
    with torch.enable_grad():
        given = spikes.detach().requires_grad_()
        heard = hear.pooled(given)
    return heard.detach(), lambda error: torch.autograd.grad(heard, given, error, retain_graph=True)[0]
