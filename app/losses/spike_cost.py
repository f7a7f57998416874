"""The price of a decision: a regulariser for fewer spikes."""

from __future__ import annotations

from torch import Tensor


def spike_cost(decision_BL: Tensor) -> Tensor:
    """Σ_l mean_b n_bl over the hidden layers l, n_bl the spikes up to and including the sample's first output spike.

    Its gradient is δS[t] = 1 / B at these steps: an activation error, which surrogates turn into smaller potentials. It
    does not follow the step of the decision, which the loss moves by itself. (Zenke & Vogels 2021 charge for all spikes
    of the window; only the spikes until the decision cost a network that stops there.)

    Args:
        decision_BL: decision spikes of every layer, the output layer last; see :class:`app.network.NetworkOutput`.

    Examples:
        >>> import torch
        >>> spike_cost(torch.tensor([[3.0, 1.0], [5.0, 1.0]])).item()
        4.0
    """
    return decision_BL[:, :-1].sum(1).mean()
