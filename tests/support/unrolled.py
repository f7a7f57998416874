"""The equations of SPEC 1 step by step, for autograd to differentiate: an oracle for rules that do it by hand."""

import torch


class _SurrogateStep(torch.autograd.Function):
    """A step whose derivative is the surrogate."""

    @staticmethod
    def forward(ctx, potential, neuron, surrogate):
        ctx.save_for_backward(potential)
        ctx.options = neuron, surrogate
        return (potential >= neuron.threshold).to(potential.dtype)

    @staticmethod
    def backward(ctx, grad):
        neuron, surrogate = ctx.options
        return surrogate(ctx.saved_tensors[0], neuron.threshold) * grad, None, None


def unrolled(drive, bias, neuron, surrogate, detach_reset, own=None):
    """Spikes [T, B, N]; the layer hears its own through ``own`` [N, N]; only resets may be cut out of the graph."""
    current = potential = spike = torch.zeros_like(drive[0])
    count, out = torch.zeros_like(drive[0]), []
    for t in range(len(drive)):
        lost = spike.detach() if detach_reset else spike
        heard = drive[t] if own is None else drive[t] + spike @ own.t()
        current = neuron.alpha_i * ((1 - lost) if neuron.reset == "both" else 1) * current + neuron.beta_i * heard
        kept = potential - neuron.threshold * lost if neuron.reset == "subtract" else (1 - lost) * potential
        potential = neuron.alpha_v * kept + neuron.beta_v * current + neuron.beta_bias * bias
        spike = _SurrogateStep.apply(potential, neuron, surrogate)
        if neuron.max_spikes is not None:
            spike = spike * (count < neuron.max_spikes)
            count = count + spike.detach()
        out.append(spike)
    return torch.stack(out)
