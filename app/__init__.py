"""antlr-snn: train spiking neural networks with activation-, timing-based and unified (ANTLR) learning rules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import environment

__version__ = "0.1.0"

environment.prepare()

if TYPE_CHECKING:
    from .events import SpikeEvents
    from .exchange import from_nir, to_nir
    from .losses.count import count_loss
    from .losses.latency import latency_loss
    from .losses.spike_train import spike_train_loss
    from .losses.targets import target_counts
    from .network import Network
    from .neuron.lif import Neuron, centre_bias
    from .neuron.surrogate import Exponential, Rectangular, Surrogate
    from .rules import Rule, activation, antlr, timing
    from .training.predictor import load

_PLACES = {
    "Exponential": "neuron.surrogate",
    "Network": "network",
    "Neuron": "neuron.lif",
    "Rectangular": "neuron.surrogate",
    "Rule": "rules",
    "SpikeEvents": "events",
    "Surrogate": "neuron.surrogate",
    "activation": "rules",
    "antlr": "rules",
    "centre_bias": "neuron.lif",
    "count_loss": "losses.count",
    "from_nir": "exchange",
    "latency_loss": "losses.latency",
    "load": "training.predictor",
    "spike_train_loss": "losses.spike_train",
    "target_counts": "losses.targets",
    "timing": "rules",
    "to_nir": "exchange",
}
"""Where the names for a notebook come from; each is imported when it is first asked for."""

__all__ = [
    "Exponential",
    "Network",
    "Neuron",
    "Rectangular",
    "Rule",
    "SpikeEvents",
    "Surrogate",
    "activation",
    "antlr",
    "centre_bias",
    "count_loss",
    "from_nir",
    "latency_loss",
    "load",
    "spike_train_loss",
    "target_counts",
    "timing",
    "to_nir",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value
