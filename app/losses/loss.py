"""What a loss is: a dataclass of its settings that can be called, known by its name in :data:`LOSSES`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..events import Batch
from ..registry import Registry
from ..settings import check_settings
from .reduction import Reduction


@dataclass(frozen=True)
class Loss:
    """A differentiable function of the output layer's two channels; a loss of one's own is a subclass in a file.

    Its fields are made by :func:`app.settings.setting` and appear under ``objective.`` in the configuration.

    Attributes:
        needs_labels: whether ``batch.label_B`` must hold classes.
        has_activation_gradient: whether dL/dS is not always zero.
        has_timing_gradient: whether dL/dt̂ is not always zero.
        usual_readout: the prediction that goes with it.
    """

    needs_labels: ClassVar[bool] = True
    has_activation_gradient: ClassVar[bool] = True
    has_timing_gradient: ClassVar[bool] = True
    usual_readout: ClassVar[str] = "first"

    def __post_init__(self) -> None:
        check_settings(self)

    def __call__(self, spikes_TBN: Tensor, times_TBN: Tensor, batch: Batch, reduction: Reduction = "mean") -> Tensor:
        """The loss averaged over the batch, or of each sample [B]."""
        raise NotImplementedError

    def problems(self, config: Any) -> Iterator[str]:
        """What in a run's configuration cannot work with this loss, a sentence each with the key and the remedy."""
        yield from ()


LOSSES: Registry[type[Loss]] = Registry("loss")
