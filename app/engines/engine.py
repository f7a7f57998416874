"""What an engine is: it says what stands in its way, and runs what does not.

An engine runs a whole network over the whole window of a batch. Register one and ``engine=<name>`` uses it; with
``engine=auto`` the registered engine with the highest ``preference`` that has no obstacle runs. What an engine does not
know exactly - a rule, a surrogate, a layer, a hook - is an obstacle: it never computes something else than was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

from ..activity import LayerActivity
from ..events import SpikeEvents
from ..readout import first_spike_steps
from ..registry import Registry

if TYPE_CHECKING:
    from ..network import Network


class NetworkOutput(NamedTuple):
    """What a batch made of a network with L spiking layers.

    Args:
        spikes_TBN, times_TBN: both channels of the output layer, [T, B, N].
        layers: the activity of every spiking layer, first to last.
        decision_BL: spikes of every layer up to and including the step of the sample's first output spike (all of them
            where no output neuron fires), float [B, L]. Differentiable in the number of spikes, not in the step. None
            once only the numbers are needed.
        window_B: steps of each sample's window that count, where that was shortened (:meth:`until_fired`), int64 [B].
    """

    spikes_TBN: Tensor
    times_TBN: Tensor
    layers: list[LayerActivity]
    decision_BL: Tensor | None = None
    window_B: Tensor | None = None

    def until_fired(self) -> NetworkOutput:
        """The batch as if it had been stopped when all its output neurons had fired, as Kim et al.'s code does.

        What is counted - the activity of the layers - ends with the step at which the last output neuron of the last
        sample fires first; where one never does, it is that of the whole window. Both channels stay whole.
        """
        steps = len(self.spikes_TBN)
        last = first_spike_steps(self.spikes_TBN.detach()).max().clamp(max=steps - 1)
        layers = [activity.until(last) for activity in self.layers]
        window_B = (last + 1).long().expand(self.spikes_TBN.shape[1])
        return self._replace(layers=layers, window_B=window_B)


class Engine(Protocol):
    """Time loops for whole networks.

    Both properties may be plain attributes of the class.
    """

    @property
    def preference(self) -> int:
        """``engine=auto`` takes the engine with the largest that has no obstacle."""

    @property
    def device(self) -> str | None:
        """The kind of device that it is made for, "cpu" or "cuda"; None for any."""

    def obstacle(self, network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        """Why this engine cannot run a network, as the end of "because …"; None when it can.

        Args:
            network: as it is now, with its rule, neuron, layers and hooks.
            spikes: the input; None asks about the network alone.
        """

    def run(self, network: Network, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch for which there is no obstacle; see :meth:`app.network.Network.forward`."""


ENGINES: Registry[Engine] = Registry("engine")
