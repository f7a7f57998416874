"""The callbacks that come with the application and that settings switch on or off.

Their classes need Lightning and are imported when a run is built, not to read a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..settings import setting
from .registered import CALLBACKS, CallbackSettings, RunParts

__all__ = ["CALLBACKS"]


@CALLBACKS.register("layer_health")
@dataclass(frozen=True)
class Health(CallbackSettings):
    """Warns of a layer that falls silent or floods."""

    is_standard: ClassVar[bool] = True

    def callback(self, run: RunParts) -> Any:
        """Without settings."""
        from .layer_health import LayerHealth

        return LayerHealth()


@CALLBACKS.register("raster")
@dataclass(frozen=True)
class Raster(CallbackSettings):
    """Draws the spikes of a sample when training ends."""

    is_standard: ClassVar[bool] = True

    raster: bool = setting(True, "draw spike rasters of a validation sample")

    def callback(self, run: RunParts) -> Any:
        """Unless switched off."""
        from .raster import SpikeRaster

        return SpikeRaster(run.out) if self.raster else None


@CALLBACKS.register("pictures")
@dataclass(frozen=True)
class AllPictures(CallbackSettings):
    """Draws what ``antlr-snn plot`` draws when training ends, for W&B too."""

    def callback(self, run: RunParts) -> Any:
        """Without settings."""
        from .portraits import Portraits

        return Portraits(run.out)


@CALLBACKS.register("landscape")
@dataclass(frozen=True)
class Landscape(CallbackSettings):
    """Compares loss and gradients of all rules along a line through the weights."""

    is_standard: ClassVar[bool] = True

    landscape_epochs: list[int] = setting([], "epochs after which loss and gradients of all rules are compared", ge=0)
    landscape_points: int = setting(21, "grid points per direction of the landscape", ge=2)
    landscape_span: float = setting(1.0, "reach of the landscape in each direction, in filter-normalised units", gt=0)
    landscape_samples: int = setting(64, "samples over which the landscape's loss is averaged", ge=1)

    def callback(self, run: RunParts) -> Any:
        """After the chosen epochs, if there are any."""
        from ..landscape.callback import LossLandscape

        if not self.landscape_epochs:
            return None
        line = (self.landscape_points, self.landscape_span, self.landscape_samples)
        return LossLandscape(run.out, self.landscape_epochs, *line, run.seed, run.rules())
