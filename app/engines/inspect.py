"""Whether a module is exactly what its class says, or something was put on it that an engine would pass over."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as torch_module

from ..layers import SpikingLayer

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PARAMETERS = frozenset(("weight", "bias", "recurrent_weight", "delay_steps"))
NO_PARAMETERS = frozenset[str]()
PLAIN = frozenset(nn.Module().__dict__)
"""What every module has of its own."""


def loops(layer: nn.Module) -> str | None:
    """Whether a layer hears itself, as the end of "its layer …"."""
    return None if layer.__dict__["_parameters"].get("recurrent_weight") is None else "hears its own spikes"


def delays(layer: nn.Module) -> str | None:
    """Whether a layer has delays, as the end of "its layer …"."""
    own = layer.__dict__["_parameters"]
    if own.get("delay_steps") is not None:
        kind = layer.delays.kind if isinstance(layer, SpikingLayer) and layer.delays else "unknown"
        return f"has {kind} delays"
    return None


def changed(layer: nn.Module) -> str | None:
    """What was put on a layer, as the end of "its layer …": hooks, parametrisations, methods; None when nothing was.

    Asked in every step, hence the look into the module's dictionaries.
    """
    own = layer.__dict__
    if any(own[kind] for kind in HOOKS) or any(getattr(torch_module, f"_global{kind}") for kind in HOOKS):
        return "has hooks, which fire only when it runs by itself"
    parameters = PARAMETERS if type(layer) is SpikingLayer else NO_PARAMETERS
    if own["_modules"] and isinstance(layer, SpikingLayer) and layer.learned is not None:
        return f"learns {' and '.join(layer.learned.names)}, constants of all neurons in its kernels"
    if own["_parameters"].keys() != parameters or own["_modules"]:
        return "has other parameters or modules than its class"
    for name in own.keys() - PLAIN:
        if callable(getattr(type(layer), name, None)):
            return f"has a method {name!r} of its own"
    return None
