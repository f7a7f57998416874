"""The penalty with which the timing rule revives silent neurons (SPEC 3)."""

from __future__ import annotations

from torch import Tensor


def silent_neuron_penalty(weight_NM: Tensor, silent_share_N: Tensor, coefficient: float = 100.0) -> Tensor:
    """−Σ_j (c / fan_in) share_j Σ_i W_ji: a regulariser whose gradient is dL/dW_ji −= (c / fan_in) · share_j.

    It applies to fully connected layers; the golden files hold no such term for convolutions, whose weights are shared.

    Args:
        weight_NM: the weights of a fully connected layer.
        silent_share_N: the share of the batch in which each neuron stays silent.
        coefficient: c, 100 in the paper's timing rule.

    Examples:
        >>> import torch
        >>> silent_neuron_penalty(torch.ones(2, 4), torch.tensor([0.5, 0.0])).item()  # -100 / 4 * 0.5 * 4
        -50.0
    """
    return -(coefficient / weight_NM.shape[1]) * (silent_share_N.detach().to(weight_NM.dtype) @ weight_NM).sum()
