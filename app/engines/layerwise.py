"""The plain engine, layer by layer in PyTorch: the definition. Any layers, any rule, any device and float type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..activity import LayerActivity
from ..events import SpikeEvents
from ..layers import SpikingLayer
from .engine import ENGINES, NetworkOutput

if TYPE_CHECKING:
    from ..network import Network


class Layerwise:
    """Every layer runs the whole window before the next one; what the modules do is what happens, hooks included."""

    preference = 0
    device = None

    def obstacle(self, network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        """Nothing stands in its way."""
        return None

    def run(self, network: Network, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch; see :class:`app.engines.engine.Engine`."""
        if isinstance(spikes, SpikeEvents):
            spikes.check()
            parameter = next(network.parameters())
            spikes = spikes.to(parameter.device).to_dense(parameter.dtype)
        channels, trains = (spikes, spikes.detach()), []
        for layer in network.layers:
            if isinstance(layer, SpikingLayer):
                channels = layer(channels, network.neuron, network.rule)
                trains.append(channels[0])
            else:
                channels = layer(channels)
        heard_TB = until_first_output(channels[0])
        if stop_at_first_output:
            trains = _cut(trains, heard_TB)
            spikes, times = _cut(channels, heard_TB)
            channels = (spikes, times)
        decision_BL = torch.stack([(train.flatten(2).sum(2) * heard_TB).sum(0) for train in trains], 1)
        return NetworkOutput(*channels, [LayerActivity.of(train) for train in trains], decision_BL)


ENGINES.register("layerwise", "reference")(Layerwise())


def until_first_output(spikes_TBN: Tensor) -> Tensor:
    """The steps up to and including a sample's first output spike, bool [T, B]."""
    fired_TB = spikes_TBN.detach().any(2)
    return (fired_TB.cumsum(0) - fired_TB.int()) == 0


def _cut(trains: Iterable[Tensor], heard_TB: Tensor) -> list[Tensor]:
    """Trains [T, B, *N] without what comes behind the steps that count."""
    return [train * heard_TB.view(*heard_TB.shape, *[1] * (train.dim() - 2)) for train in trains]
