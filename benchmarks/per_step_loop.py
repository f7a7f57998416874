"""What a user would write without this project: one Python iteration per time step, dense spikes, plain PyTorch.

The activation-based rule runs through autograd with a surrogate gradient; timing and ANTLR have no autograd form and
follow the published code: a second loop, backwards over layers and steps, with the gradients added step by step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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


def autograd_loop(spikes_TBM: Tensor, weights: list[Tensor], biases: list[Tensor], neuron: Neuron) -> Tensor:
    """Output spikes [T, B, N], differentiable through the surrogate; the reset is not differentiated."""
    outputs = []
    states = [(torch.zeros(spikes_TBM.shape[1], len(w)),) * 3 for w in weights]
    for spikes in spikes_TBM:
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            current, potential, fired = states[k]
            keep = 1 - fired.detach()
            current = neuron.alpha_i * keep * current + neuron.beta_i * F.linear(spikes, weight)
            potential = neuron.alpha_v * keep * potential + neuron.beta_v * current + neuron.beta_bias * bias
            spikes = _Spike.apply(potential)
            states[k] = current, potential, spikes
        outputs.append(spikes)
    return torch.stack(outputs)


@torch.no_grad()
def forward_loop(
    spikes_TBM: Tensor, weights: list[Tensor], biases: list[Tensor], neuron: Neuron
) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes and potentials of every layer, each [T, B, N]; the input is the first entry of the spikes."""
    batch, trains, potentials = spikes_TBM.shape[1], [spikes_TBM], []
    trains += [torch.zeros(len(spikes_TBM), batch, len(w)) for w in weights]
    potentials += [torch.zeros_like(train) for train in trains[1:]]
    states = [(torch.zeros(batch, len(w)),) * 3 for w in weights]
    for t in range(len(spikes_TBM)):
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            current, potential, fired = states[k]
            current = neuron.alpha_i * (1 - fired) * current + neuron.beta_i * F.linear(trains[k][t], weight)
            potential = neuron.alpha_v * (1 - fired) * potential + neuron.beta_v * current + neuron.beta_bias * bias
            fired = (potential >= neuron.threshold).float()
            trains[k + 1][t], potentials[k][t] = fired, potential
            states[k] = current, potential, fired
    return trains, potentials


@torch.no_grad()
def backward_loop(
    error: Tensor,
    error_t: Tensor,
    trains: list[Tensor],
    potentials: list[Tensor],
    weights: list[Tensor],
    neuron: Neuron,
    lambda_act: float,
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of weights and biases from both errors of the output layer, for the timing rule and ANTLR."""
    weight_grads, bias_grads = [torch.zeros_like(w) for w in weights], [torch.zeros(len(w)) for w in weights]
    for k in range(len(weights) - 1, -1, -1):
        spikes, potential, before = trains[k + 1], potentials[k], trains[k]
        below, below_t = torch.zeros_like(before), torch.zeros_like(before)
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
            weight_grads[k] += neuron.beta_i * d_current.t() @ before[t]
            bias_grads[k] += neuron.beta_bias * d_potential.sum(0)
            if k:
                shift = later - neuron.alpha_i * d_current - neuron.beta_v * neuron.alpha_v * d_potential
                below[t] = neuron.beta_i * d_current @ weights[k]
                below_t[t] = before[t] * (neuron.beta_i / 2 * shift @ weights[k])
        error, error_t = below, below_t
    return weight_grads, bias_grads
