"""Whether a module is exactly what its class says, or something was put on it that an engine would pass over."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as torch_module

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def changed(layer: nn.Module) -> str | None:
    """What was put on a layer, as the end of "its layer …": hooks, parametrisations, methods; None when nothing was."""
    for part in layer.modules():
        if any(getattr(part, kind) for kind in HOOKS) or any(getattr(torch_module, f"_global{kind}") for kind in HOOKS):
            return "has hooks, which fire only when it runs by itself"
        own = [name for name in part.__dict__ if callable(getattr(type(part), name, None))]
        if own:
            return f"has a method {own[0]!r} of its own"
    if {*dict(layer.named_parameters())} - {"weight", "bias"} or len([*layer.children()]) > 0:
        return "has parameters or modules that its class does not have"
    return None
