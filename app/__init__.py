"""antlr-snn: train spiking neural networks with activation-, timing-based and unified (ANTLR) learning rules."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import environment, leaving

__version__ = "0.1.0"

leaving.prepare()  # first, hence called last
environment.prepare()

if TYPE_CHECKING:
    from .callbacks.registered import CALLBACKS, CallbackSettings
    from .data.tasks import TASKS, Task
    from .engines import ENGINES, Engine
    from .events import SpikeEvents
    from .exchange import from_nir, to_nir
    from .losses import LOSSES, Loss
    from .losses.count import count_loss
    from .losses.latency import latency_loss
    from .losses.spike_cost import spike_cost
    from .losses.spike_train import spike_train_loss
    from .losses.targets import target_counts
    from .network import Network
    from .neuron.lif import Neuron, centre_bias
    from .neuron.models import NEURONS, NeuronModel
    from .neuron.surrogate import (
        SURROGATES,
        Arctangent,
        Exponential,
        FastSigmoid,
        Rectangular,
        Sigmoid,
        Surrogate,
        Triangular,
    )
    from .readout import READOUTS
    from .rules import RULES, Rule
    from .rules.activation import Activation as activation
    from .rules.antlr import Antlr as antlr
    from .rules.bptc import LatencyOnce as bptc
    from .rules.eventprop import EventProp as eventprop
    from .rules.hm2bp import HybridMacroMicro as hm2bp
    from .rules.lee import Lee as lee
    from .rules.s4nn import S4NN as s4nn
    from .rules.timing import Timing as timing
    from .rules.tssl_bp import TSSLBP as tssl_bp
    from .settings import setting
    from .training.predictor import load

_PLACES = {
    "Arctangent": "neuron.surrogate",
    "CALLBACKS": "callbacks.registered",
    "CallbackSettings": "callbacks.registered",
    "ENGINES": "engines",
    "Engine": "engines",
    "Exponential": "neuron.surrogate",
    "FastSigmoid": "neuron.surrogate",
    "LOSSES": "losses",
    "Loss": "losses",
    "NEURONS": "neuron.models",
    "Network": "network",
    "Neuron": "neuron.lif",
    "NeuronModel": "neuron.models",
    "READOUTS": "readout",
    "RULES": "rules",
    "Rectangular": "neuron.surrogate",
    "Rule": "rules",
    "SURROGATES": "neuron.surrogate",
    "Sigmoid": "neuron.surrogate",
    "SpikeEvents": "events",
    "Surrogate": "neuron.surrogate",
    "TASKS": "data.tasks",
    "Task": "data.tasks",
    "Triangular": "neuron.surrogate",
    "activation": "rules",
    "antlr": "rules",
    "bptc": "rules",
    "centre_bias": "neuron.lif",
    "count_loss": "losses.count",
    "eventprop": "rules",
    "from_nir": "exchange",
    "hm2bp": "rules",
    "latency_loss": "losses.latency",
    "lee": "rules",
    "load": "training.predictor",
    "s4nn": "rules",
    "setting": "settings",
    "spike_cost": "losses.spike_cost",
    "spike_train_loss": "losses.spike_train",
    "target_counts": "losses.targets",
    "timing": "rules",
    "to_nir": "exchange",
    "tssl_bp": "rules",
}
"""Where the names for a notebook come from; each is imported when it is first asked for."""

__all__ = [
    "CALLBACKS",
    "ENGINES",
    "LOSSES",
    "NEURONS",
    "READOUTS",
    "RULES",
    "SURROGATES",
    "TASKS",
    "Arctangent",
    "CallbackSettings",
    "Engine",
    "Exponential",
    "FastSigmoid",
    "Loss",
    "Network",
    "Neuron",
    "NeuronModel",
    "Rectangular",
    "Rule",
    "Sigmoid",
    "SpikeEvents",
    "Surrogate",
    "Task",
    "Triangular",
    "activation",
    "antlr",
    "bptc",
    "centre_bias",
    "count_loss",
    "eventprop",
    "from_nir",
    "hm2bp",
    "latency_loss",
    "lee",
    "load",
    "s4nn",
    "setting",
    "spike_cost",
    "spike_train_loss",
    "target_counts",
    "timing",
    "to_nir",
    "tssl_bp",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value
