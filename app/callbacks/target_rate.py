"""The initialisation that aims at a target firing share: biases with which every neuron fires on so many samples."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from ..data.sampler import TrainingBatches
from ..events import SpikeEvents
from ..network import Network
from ..running import data_of, module_of

HALVINGS = 20
REACH = 4.0
"""Biases are looked for within ± so many times the one that makes a neuron without input fire in the first step."""


class TargetRate(L.Callback):
    """Fits the biases of a new network before its first step; a function of the seed alone.

    Args:
        share: the share of samples on which a hidden neuron is to fire at least once.
        samples: training samples on which the biases are fitted, the first in the order of the first epoch.
    """

    def __init__(self, share: float, samples: int = 256) -> None:
        self.share, self.samples = share, samples

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Every process does the same."""
        data = data_of(trainer)
        assert data.train_set is not None  # Lightning sets data up before it fits
        order = TrainingBatches(len(data.train_set), self.samples, data.seed).order()
        batch = data.train_set.__getitems__(order[: self.samples])
        fit_biases(module_of(pl_module).network, batch.events.to(pl_module.device), self.share)


@torch.no_grad()
def fit_biases(network: Network, events: SpikeEvents, share: float) -> None:
    """Set all biases so that each hidden neuron (each channel of a convolution) fires on a share of the samples.

    Output neurons are made to fire on all of them: a silent one has no spike time from which to learn.

    Layer by layer, as LSUV does with weight scales (Mishkin & Matas 2016), and neuron by neuron, as threshold balancing
    does (Diehl et al. 2015). Biases are shifted, weights are not scaled: weights have both signs, so that no scale
    makes a neuron fire whose drive is negative, whereas V before the first spike rises with the bias. Whether a neuron
    fires is hence monotone in its bias, bisection finds it, and every share can be reached. The weights keep the
    scale on which step sizes and gradients depend.

    Args:
        network: its biases are overwritten.
        events: input spikes of real samples.
        share: the target of hidden neurons, between 0 and 1.
    """
    last = len(network.spiking) - 1
    reach = REACH * network.neuron.threshold / network.neuron.beta_bias
    for depth, layer in enumerate(network.spiking):
        low, high = (torch.full_like(layer.bias, end) for end in (-reach, reach))
        for _ in range(HALVINGS):
            layer.bias.copy_((low + high) / 2)
            fires = firing_share(network, events, depth) >= (share if depth < last else 1)
            low, high = torch.where(fires, low, layer.bias), torch.where(fires, layer.bias, high)
        layer.bias.copy_(high)


def firing_share(network: Network, events: SpikeEvents, depth: int) -> Tensor:
    """The share of samples, and of places in a convolution, where the neurons of each bias of a layer fire."""
    fired_BN = (network(events).layers[depth].counts_BN > 0).double()
    share: Tensor = fired_BN.view(len(fired_BN), len(network.spiking[depth].bias), -1).mean((0, 2))
    return share
