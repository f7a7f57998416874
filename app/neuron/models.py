"""Neuron models by name: what a user says of a neuron, and the constants (:class:`app.neuron.lif.Neuron`) that follow.

A model is one file: a frozen dataclass of settings that makes the constants. The equations of the neuron (SPEC 1) are
those that every engine computes; a model with other equations needs a layer and an engine that know them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from ..registry import Registry
from ..settings import check_settings, setting
from .lif import Neuron, Reset


@dataclass(frozen=True)
class NeuronModel:
    """A neuron as a user describes it; one of one's own is a subclass in a file.

    Its fields are made by :func:`app.settings.setting` and appear under ``neuron.`` in the configuration.
    """

    def __post_init__(self) -> None:
        check_settings(self)

    def neuron(self, time_steps: int, threshold: float, max_spikes: int | None, reset: Reset) -> Neuron:
        """The constants.

        Args:
            time_steps: T.
            threshold: θ.
            max_spikes: a neuron fires at most so often in the window; None for no limit.
            reset: what a spike resets.
        """
        raise NotImplementedError

    def problems(self, config: Any) -> Iterator[str]:
        """What in a run's configuration cannot work with this neuron, a sentence each with the key and the remedy."""
        yield from ()


NEURONS: Registry[type[NeuronModel]] = Registry("neuron")


@NEURONS.register("lif")
@dataclass(frozen=True)
class Lif(NeuronModel):
    """The neuron by the constants of its equations; with (α_V, α_I) the five neurons of SPEC 1."""

    alpha_v: float = setting(0.99, "share of the membrane potential that is left after one step", ge=0, le=1)
    alpha_i: float = setting(0.99, "share of the synaptic current that is left after one step", ge=0, le=1)
    beta_auto: bool = setting(
        True, "choose the three betas so that one spike through weight 1 just reaches the threshold"
    )
    beta_i: float = setting(1.0, "synaptic current per weighted input spike; with beta_auto=false", gt=0)
    beta_v: float | None = setting(None, "membrane potential per synaptic current; with beta_auto=false", gt=0)
    beta_bias: float | None = setting(None, "membrane potential per bias; with beta_auto=false", gt=0)

    def neuron(self, time_steps: int, threshold: float, max_spikes: int | None, reset: Reset) -> Neuron:
        """With these constants, or with betas that follow from α_V, α_I and T."""
        rest = (threshold, max_spikes, reset)
        if self.beta_auto or self.beta_v is None or self.beta_bias is None:
            return Neuron.auto(self.alpha_v, self.alpha_i, time_steps, *rest)
        return Neuron(self.alpha_v, self.alpha_i, self.beta_v, self.beta_i, self.beta_bias, *rest)

    def problems(self, config: Any) -> Iterator[str]:
        """Betas that have no effect, or are missing."""
        betas = {one.name: (getattr(self, one.name), one.default) for one in fields(self) if one.name in BETAS}
        given = [name for name, (value, default) in betas.items() if value != default]
        missing = [name for name, (value, _) in betas.items() if value is None]
        if self.beta_auto and given:
            yield (
                f"neuron.{given[0]}={betas[given[0]][0]} has no effect with neuron.beta_auto=true; "
                "use neuron.beta_auto=false"
            )
        if not self.beta_auto and missing:
            key = f"neuron.{missing[0]}"
            yield f"{key} is needed with neuron.beta_auto=false: give a number, e.g. {key}=1"


BETAS = ("beta_i", "beta_v", "beta_bias")
