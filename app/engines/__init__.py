"""Engines: the time loops that run a network, one file each, chosen by name or, with ``auto``, by what applies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ..events import SpikeEvents
from . import event_driven, layerwise, triton
from .engine import ENGINES, Engine, NetworkOutput

if TYPE_CHECKING:
    from ..network import Network

__all__ = ["AUTO", "ENGINES", "Choice", "Engine", "NetworkOutput", "choose", "event_driven", "layerwise", "triton"]

AUTO = "auto"


class Choice(NamedTuple):
    """Which engine runs a network.

    Args:
        name: the engine.
        passed_over: engines that ``auto`` would have preferred, each with what stands in its way.
    """

    name: str
    passed_over: dict[str, str]


def choose(network: Network, spikes: SpikeEvents | Tensor | None = None) -> Choice:
    """The engine that runs a network on an input, or on any input that the network can have.

    Raises:
        ValueError: the network names an engine, and that one cannot run it.
    """
    if network.engine != AUTO:
        if obstacle := ENGINES[network.engine].obstacle(network, spikes):
            raise ValueError(
                f"engine={network.engine} cannot run this network: {obstacle}; use engine=auto or engine=layerwise"
            )
        return Choice(network.engine, {})
    passed_over: dict[str, str] = {}
    for name in sorted(ENGINES, key=lambda name: -ENGINES[name].preference):
        if (obstacle := ENGINES[name].obstacle(network, spikes)) is None:
            return Choice(name, passed_over)
        passed_over[name] = obstacle
    raise ValueError(f"no engine can run this network: {passed_over}")
