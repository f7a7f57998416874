"""A step function that autograd differentiates by a surrogate, for oracles that unroll the graph."""

import torch


class SurrogateStep(torch.autograd.Function):
    """A step whose derivative is the surrogate, for the oracle that unrolls the graph."""

    @staticmethod
    def forward(ctx, potential, neuron, surrogate):
        ctx.save_for_backward(potential)
        ctx.options = neuron, surrogate
        return (potential >= neuron.threshold).to(potential.dtype)

    @staticmethod
    def backward(ctx, grad):
        neuron, surrogate = ctx.options
        return surrogate(ctx.saved_tensors[0], neuron.threshold) * grad, None, None
