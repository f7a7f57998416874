"""Fine-tuning: a new run that starts from the weights of another one, layer by layer where they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import lightning as L
import torch

from ..config import Config
from ..config.schema import keys
from ..errors import UserError
from ..network import Network
from ..resume.checkpoint import best_of, read_checkpoint
from .module import SpikingModule


@torch.no_grad()
def start_from(network: Network, config: Config) -> dict[str, Any]:
    """Put the weights and biases of another run's layers in the place of those that have the same shape here.

    Layers are compared by their number, 1 for the first spiking layer; nothing else is taken over: rule, loss, task,
    neurons and optimiser are this run's own. The file is only read.

    Args:
        network: new; its first layers are overwritten.
        config: of this run; ``init_from`` names the other one.

    Returns:
        for ``summary.json``: ``file`` and its ``sha256``, what that run was, and ``layers``, for each layer here what
        happened to it.

    Raises:
        UserError: the file cannot be used, or no layer fits.
    """
    path = best_of(str(config.init_from))
    content = read_checkpoint(path, key="init_from")
    theirs = _layers(content["state_dict"])
    found: dict[str, str] = {}
    for number, layer in enumerate(network.spiking, 1):
        own = dict(layer.named_parameters())
        if number > len(theirs):
            found[f"layer{number}"] = f"new: the other network has {len(theirs)} layers"
        elif _shapes(there := theirs[number - 1]) != _shapes(own):
            found[f"layer{number}"] = f"new: {_shapes(there)} there, {_shapes(own)} here"
        else:
            for name, parameter in own.items():
                parameter.copy_(there[name])
            found[f"layer{number}"] = TAKEN
    if TAKEN not in found.values():
        raise UserError(
            f"init_from={path}: none of its layers fits network=[{','.join(config.network or [])}] "
            f"({found['layer1'].removeprefix('new: ')}); use its network, or one with the same first layers"
        )
    before = content["config"]
    about = {name: before.get(name) for name in ("task", "rule", "loss", "seed")}
    return {
        "file": str(path),
        "sha256": sha256(path.read_bytes()).hexdigest(),
        **about,
        "epochs": content["epoch"] + 1,
        "layers": found,
        "other_neurons": _other_neurons(before, config),
    }


TAKEN = "taken over"


def _layers(state: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    """The parameters of each layer that has some, first to last, by name."""
    layers: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        if match := re.fullmatch(r"network\.layers\.(\d{1,9})\.(\w+)", str(key)):
            layers.setdefault(int(match[1]), {})[match[2]] = value
    return [layers[index] for index in sorted(layers)]


def _shapes(parameters: Mapping[str, torch.Tensor]) -> str:
    """The shapes of a layer's parameters: weights 10x20, biases 10."""
    words = {"weight": "weights", "recurrent_weight": "recurrent weights", "bias": "biases", "delay_steps": "delays"}
    named = {words.get(name, name): "x".join(map(str, value.shape)) for name, value in parameters.items()}
    return ", ".join(f"{name} {named[name]}" for name in dict.fromkeys([*words.values(), *named]) if name in named)


def _other_neurons(before: dict[str, Any], config: Config) -> dict[str, list[Any]]:
    """The settings on which the meaning of a weight depends, where they differ: there, here."""
    neuron = before.get("neuron")
    there = neuron if isinstance(neuron, dict) else {}
    pairs = {f"neuron.{name}": [there.get(name), value] for name, value in vars(config.neuron).items()}
    pairs |= {"time_steps": [before.get("time_steps"), config.time_steps]} if config.neuron.beta_auto else {}
    return {name: pair for name, pair in pairs.items() if name in keys() and pair[0] != pair[1]}


def started_words(about: dict[str, Any]) -> str:
    """What was taken over, in a line."""
    what = f"{about['task']}, {about['rule']} rule, {about['loss']} loss, after {about['epochs']} epochs"
    layers = "; ".join(f"{name.replace('layer', 'layer ')} {how}" for name, how in about["layers"].items())
    others = "".join(f"; {name} {there} there, {here} here" for name, (there, here) in about["other_neurons"].items())
    return f"starting from {about['file']} ({what}): {layers}{others}"


class StartedFrom(L.Callback):
    """Keeps in every checkpoint what the run started from, for its summary, also when it goes on after a stop.

    Args:
        module: knows it in a new run, and is told in one that goes on.
    """

    def __init__(self, module: SpikingModule) -> None:
        self.module = module

    def state_dict(self) -> dict[str, Any]:
        """What was taken over; None before it is known."""
        return {"about": self.module.started_from or None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Tell the module."""
        self.module.started_from = dict(state_dict["about"])
