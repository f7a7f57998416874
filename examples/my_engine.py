"""An engine of one's own: the plain one, which says how long each batch took.

python train.py plugins=[examples/my_engine.py] engine=timed trainer.max_epochs=1
"""

import sys
import time

from torch import Tensor

from app import Network, SpikeEvents
from app.engines import ENGINES, NetworkOutput


class Timed:
    """Hands everything to the engine ``layerwise``; one that computes by itself has a ``run`` of its own."""

    preference = -1  # never chosen by engine=auto, for it is no faster than another one
    device = None  # any

    def obstacle(self, network: Network, spikes: SpikeEvents | Tensor | None) -> str | None:
        """What this engine cannot run, as the end of "because …"; None when it can."""
        return ENGINES["layerwise"].obstacle(network, spikes)

    def run(self, network: Network, spikes: SpikeEvents | Tensor, stop_at_first_output: bool = False) -> NetworkOutput:
        """Run a batch; ``loss.backward()`` follows what is returned here."""
        began_s = time.perf_counter()
        output = ENGINES["layerwise"].run(network, spikes, stop_at_first_output)
        print(f"{time.perf_counter() - began_s:.3f} s", file=sys.stderr)
        return output


ENGINES.register("timed")(Timed())
