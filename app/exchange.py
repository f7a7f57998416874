"""Networks as NIR graphs, the format that other frameworks and neuromorphic hardware read.

NIR's current-based neuron (``nir.CubaLIF``) is

    τ_syn dI/dt = −I + w_in S        τ_mem dV/dt = v_leak − V + R I        V > v_threshold: spike, V = v_reset

and becomes this project's neuron with ``reset=potential`` (SPEC 1) when a reader takes steps of Δt:

    ``euler`` (Norse, snnTorch):  α = 1 − Δt/τ;      ``exponential`` (exact decay between steps):  α = exp(−Δt/τ)

with gain 1 − α in both, hence w_in = β_I β_V / (1 − α_I), R = 1 / (1 − α_V), v_leak = β_b b / (1 − α_V): NIR's current
is β_V I, so that readers which want R = τ_mem/Δt get it. The bias is ``v_leak``, as it acts on V and not on I; without
a synaptic current (α_I = 0) both are the same, and it is an ordinary bias of the weights.

A layer that hears its own spikes is a cycle: its neurons, weights without bias, the same neurons. A graph does not say
when a spike comes round; here, as in readers that go through the nodes step by step, it is one step later.

Source: J. E. Pedersen et al., Neuromorphic intermediate representation, Nature Communications 15, 8122 (2024).
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from itertools import pairwise
from math import exp, prod
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from .errors import UserError
from .layers import AveragePool, Flatten, SpikingLayer
from .layers.synapses import Dense
from .network import Network
from .neuron.lif import Neuron
from .rules.rule import Rule

Discretisation = Literal["euler", "exponential"]
ALIKE = (
    "a network is read here with the same constants for all neurons of all layers (neuron.*): give them the same in "
    "the other framework, or read the weights alone"
)
"""Why neurons that differ are refused, and what to do."""
DT_S = 1e-4
"""The step that snnTorch assumes; NIR files do not hold one."""


def nir_package() -> Any:
    """The package ``nir``.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module("nir")
    except ImportError:
        raise UserError("NIR files need the package nir; install it: pip install nir==1.0.8") from None


def to_nir(
    network: Network,
    dt_s: float = DT_S,
    discretisation: Discretisation = "euler",
    allow_other_reset: bool = False,
) -> Any:
    """The ``nir.NIRGraph`` of a network: nodes ``input``, ``0``, ``0_neurons``, ``1``, … and ``output``.

    A layer that hears its own spikes has a node ``0_recurrent`` besides.

    Args:
        network: trained weights and neuron.
        dt_s: Δt, what a reader takes one step for, in seconds.
        discretisation: how the reader steps; see the module.
        allow_other_reset: write a network whose reset NIR does not have; readers then reset V alone.

    Raises:
        UserError: what NIR has no node for, by name.
    """
    nir = nir_package()
    neuron = network.neuron
    _check_neuron(neuron, dt_s, discretisation, allow_other_reset)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(network.input_shape)})}
    shape = network.input_shape
    cycles: dict[str, Any] = {}
    for number, layer in enumerate(network.layers):
        name = str(number)
        if isinstance(layer, SpikingLayer):
            if layer.delays is not None:
                raise UserError(
                    f"delays.kind={layer.delays.kind}: the NIR files written here hold no delays; train with "
                    "delays.kind=null"
                )
            nodes[name] = _synapses(nir, layer, shape, neuron)
            shape = layer.shape
            if layer.recurrent_weight is not None:
                cycles[name] = nir.Linear(weight=_array(layer.recurrent_weight))
            nodes[f"{name}_neurons"] = _neurons(nir, layer, neuron, dt_s, discretisation)
        elif isinstance(layer, AveragePool):
            size = np.array([layer.size, layer.size])
            nodes[name] = nir.AvgPool2d(kernel_size=size, stride=size, padding=np.array([0, 0]))
            shape = (shape[0], shape[1] // layer.size, shape[2] // layer.size)
        elif isinstance(layer, Flatten):
            nodes[name] = nir.Flatten({"input": np.array(shape)}, start_dim=0)
            shape = (prod(shape),)
        else:
            raise UserError(f"network: NIR has no node for {_entry(network, number)}; use apool, conv, fc or flatten")
    nodes["output"] = nir.Output({"output": np.array(shape)})
    edges = list(pairwise(nodes))
    for name, weights in cycles.items():
        nodes[f"{name}_recurrent"] = weights
        edges += [(f"{name}_neurons", f"{name}_recurrent"), (f"{name}_recurrent", f"{name}_neurons")]
    metadata = {"dt_s": dt_s, "discretisation": discretisation, "written_by": "antlr-snn"}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=False)


def _entry(network: Network, number: int) -> str:
    spec = network.spec
    return spec[number + 1] if number + 1 < len(spec) else type(network.layers[number]).__name__


def _check_neuron(neuron: Neuron, dt_s: float, discretisation: str, allow_other_reset: bool) -> None:
    if not 0 < dt_s < float("inf"):
        raise UserError(f"dt_s={dt_s:g} must be a time above 0, in seconds")
    if discretisation not in get_args(Discretisation):
        raise UserError(f"discretisation={discretisation!r} must be one of {', '.join(get_args(Discretisation))}")
    if neuron.reset != "potential" and not allow_other_reset:
        raise UserError(
            f"neuron.reset={neuron.reset}: NIR has no such neuron, its spike resets the potential alone; train with "
            "neuron.reset=potential, or give allow_other_reset=true and expect other spikes"
        )
    if neuron.max_spikes is not None:
        raise UserError(
            f"neuron.max_spikes={neuron.max_spikes}: NIR has no neuron with a limited number of spikes; train without"
        )
    for name in ("alpha_v", "alpha_i"):
        alpha = getattr(neuron, name)
        if alpha == 1:
            raise UserError(f"neuron.{name}=1: NIR's current-based neuron has no state without decay; use one below 1")
        if alpha == 0 and discretisation == "exponential":
            raise UserError(f"neuron.{name}=0: exp(-dt/tau) is never 0; use discretisation=euler")


def _tau_s(alpha: np.ndarray, dt_s: float, discretisation: str) -> np.ndarray:
    return dt_s / (1 - alpha) if discretisation == "euler" else -dt_s / np.log(alpha)


def _alpha(tau_s: float, dt_s: float, discretisation: str) -> float:
    return 1 - dt_s / tau_s if discretisation == "euler" else exp(-dt_s / tau_s)


def _array(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().copy()


def _synapses(nir: Any, layer: SpikingLayer, shape: tuple[int, ...], neuron: Neuron) -> Any:
    weight, bias = _array(layer.weight), np.zeros_like(_array(layer.bias))
    if neuron.alpha_i == 0:
        bias = _array(layer.bias) * (neuron.beta_bias / (neuron.beta_i * neuron.beta_v))
    if isinstance(layer.synapses, Dense):
        return nir.Affine(weight=weight, bias=bias) if bias.any() else nir.Linear(weight=weight)
    padding = weight.shape[-1] // 2
    return nir.Conv2d(
        input_shape=tuple(shape[1:]), weight=weight, stride=1, padding=padding, dilation=1, groups=1, bias=bias
    )


def _neurons(nir: Any, layer: SpikingLayer, neuron: Neuron, dt_s: float, discretisation: str) -> Any:
    def full(value: Any) -> np.ndarray:
        return np.array(np.broadcast_to(np.asarray(value, np.float64), layer.shape))

    learned = layer.learned.values() if layer.learned else {}

    def own(name: str) -> np.ndarray:
        return full(_array(learned[name]) if name in learned else getattr(neuron, name))

    alpha_v, alpha_i = own("alpha_v"), own("alpha_i")
    if (alpha_v == 1).any() or (alpha_i == 1).any():
        raise UserError("a neuron has learned alpha_v=1 or alpha_i=1, a state without decay, which NIR does not have")
    gain = 1 - alpha_v
    bias = _array(0 * layer.bias if neuron.alpha_i == 0 else layer.bias).astype(np.float64)
    leak = bias.reshape(-1, *[1] * (len(layer.shape) - 1)) * (neuron.beta_bias / gain)
    # V >= θ here, V > v_threshold there: the same with the number below θ
    threshold = np.nextafter(own("threshold").astype(_array(layer.weight).dtype), 0)
    return nir.CubaLIF(
        tau_syn=_tau_s(alpha_i, dt_s, discretisation),
        tau_mem=_tau_s(alpha_v, dt_s, discretisation),
        r=1 / gain,
        v_leak=full(leak),
        v_threshold=full(threshold),
        v_reset=full(0.0),
        w_in=neuron.beta_i * neuron.beta_v / (1 - alpha_i),
    )


def from_nir(
    graph: Any, rule: Rule, dt_s: float | None = None, discretisation: Discretisation | None = None
) -> Network:
    """The network of a NIR graph that is one chain of nodes, but for cycles of one node, such as :func:`to_nir` writes.

    Args:
        graph: what ``nir.read`` gives.
        rule: the learning rule that goes with it.
        dt_s: Δt in seconds; by default what the file says, else 1e-4.
        discretisation: by default what the file says, else ``euler``.

    Raises:
        UserError: a node, or neurons, that this project does not have.
    """
    nir = nir_package()
    said = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt_s = float(said.get("dt_s", DT_S)) if dt_s is None else dt_s
    discretisation = _text(said.get("discretisation", "euler")) if discretisation is None else discretisation
    cycles = _cycles(nir, graph)
    chain = _chain(graph, cycles)
    spec, parameters, neurons = [], [], []
    for name in chain:
        node = graph.nodes[name]
        if isinstance(node, nir.Input):
            spec.append("x".join(map(str, node.input_type["input"])))
        elif isinstance(node, nir.Affine | nir.Linear):
            spec.append(f"fc{node.weight.shape[0]}")
            parameters.append((node.weight, getattr(node, "bias", None)))
        elif isinstance(node, nir.Conv2d):
            size = node.weight.shape[-1]
            plain = _is(node.stride, 1) and _is(node.dilation, 1) and node.groups == 1
            if not (plain and node.weight.shape[-2] == size and _is(node.padding, size // 2)):
                raise UserError(f"node {name}: a convolution must be square, with stride 1 and padding K // 2")
            spec.append(f"conv{node.weight.shape[0]}c{size}")
            parameters.append((node.weight, node.bias))
        elif isinstance(node, nir.CubaLIF):
            neurons.append((name, node))
            if name in cycles:
                if not spec[-1].startswith("fc"):
                    raise UserError(f"node {cycles[name]}: only fully connected layers can hear their own spikes here")
                spec[-1] = f"r{spec[-1]}"
        elif isinstance(node, nir.AvgPool2d):
            size = int(np.ravel(node.kernel_size)[0])
            if not (_is(node.kernel_size, size) and _is(node.stride, size) and _is(node.padding, 0)):
                raise UserError(f"node {name}: pooling must have square windows side by side and no padding")
            spec.append(f"apool{size}")
        elif isinstance(node, nir.Flatten):
            spec.append("flatten")
        elif not isinstance(node, nir.Output):
            raise UserError(f"node {name}: there is no layer for NIR's {type(node).__name__}")
    if not neurons or len(neurons) != len(parameters):
        raise UserError("the graph must have CubaLIF neurons behind each of its weights, and behind nothing else")
    models = [_neuron(name, node, dt_s, discretisation, parameters[0][0].dtype) for name, node in neurons]
    _check_alike([name for name, _ in neurons], models)
    try:
        network = Network(spec, models[0], rule)
    except ValueError as error:
        raise UserError(str(error)) from None
    for layer, (weight, bias), (name, node) in zip(network.spiking, parameters, neurons, strict=True):
        _fill(layer, models[0], weight, bias, node)
        if name in cycles:
            layer.recurrent_weight = nn.Parameter(torch.from_numpy(np.array(graph.nodes[cycles[name]].weight)))
    return network


def _is(value: Any, wanted: int) -> bool:
    return not isinstance(value, str) and bool((np.asarray(value) == wanted).all())


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else str(value)


def _cycles(nir: Any, graph: Any) -> dict[str, str]:
    """The weights through which neurons hear themselves, by the names of both."""
    edges = set(graph.edges)
    square = {
        name
        for name, node in graph.nodes.items()
        if isinstance(node, nir.Linear) and node.weight.shape[0] == node.weight.shape[1]
    }
    return {
        neurons: weights
        for neurons, weights in edges
        if weights in square and (weights, neurons) in edges and isinstance(graph.nodes[neurons], nir.CubaLIF)
    }


def _chain(graph: Any, cycles: dict[str, str]) -> list[str]:
    """The names of the nodes from input to output, without those of cycles."""
    edges = [edge for edge in graph.edges if not set(edge) & set(cycles.values())]
    rest = set(graph.nodes) - set(cycles.values())
    after = dict(edges)
    chain = ["input"]
    while chain[-1] in after and len(chain) <= len(rest):
        chain.append(after[chain[-1]])
    if len(after) != len(edges) or sorted(chain) != sorted(rest):
        raise UserError(
            "the graph must be one chain of nodes from input to output, without branches, and without loops but those "
            "of neurons through one node of weights"
        )
    return chain


def _neuron(name: str, node: Any, dt_s: float, discretisation: str, dtype: np.dtype) -> Neuron:
    values = {}
    for key in ("tau_syn", "tau_mem", "r", "w_in", "v_threshold", "v_reset"):
        if len(found := np.unique(getattr(node, key))) != 1:
            raise UserError(f"node {name}: its neurons differ in {key} ({found[0]:g} to {found[-1]:g}); {ALIKE}")
        values[key] = float(found[0])
    if values["v_reset"] != 0:
        raise UserError(f"node {name}: v_reset={values['v_reset']:g}, but a spike sets the potential to 0 here")
    alpha_i, alpha_v = (_alpha(values[key], dt_s, discretisation) for key in ("tau_syn", "tau_mem"))
    threshold = float(np.nextafter(dtype.type(values["v_threshold"]), dtype.type(np.inf)))
    beta = values["w_in"] * (1 - alpha_i) * values["r"] * (1 - alpha_v)
    try:
        return Neuron(_neat(alpha_v), _neat(alpha_i), _neat(beta), threshold=threshold, reset="potential")
    except ValueError as error:
        raise UserError(f"node {name}: {error}; is dt_s={dt_s:g} the file's?") from None


def _check_alike(names: list[str], models: list[Neuron]) -> None:
    """Refuse layers whose neurons have other constants than those of the first."""
    for name, model in zip(names, models, strict=True):
        for constant in fields(Neuron):
            one, other = (getattr(m, constant.name) for m in (models[0], model))
            if one != other:
                raise UserError(
                    f"nodes {names[0]} and {name} differ in {constant.name} ({one:g} and {other:g}); {ALIKE}"
                )


def _neat(value: float) -> float:
    """Without the last digits, which the way through time constants has changed."""
    return float(f"{value:.12g}")


def _fill(layer: SpikingLayer, neuron: Neuron, weight: np.ndarray, bias: np.ndarray | None, node: Any) -> None:
    """Weights, and as bias what acts on V in every step.

    Raises:
        UserError: a bias that acts on the current, or one that differs between neurons that share it.
    """
    leak = np.asarray(node.v_leak, np.float64).reshape(len(weight), -1)
    if (leak != leak[:, :1]).any():
        raise UserError("v_leak differs within a channel; here a channel has one bias")
    total = leak[:, 0] * (1 - neuron.alpha_v)
    if bias is not None and np.any(bias):
        if neuron.alpha_i:
            raise UserError("the weights have a bias that acts on the synaptic current; here it acts on the potential")
        total = total + np.asarray(bias, np.float64) * neuron.beta_v
    with torch.no_grad():
        layer.weight = nn.Parameter(torch.from_numpy(np.array(weight)))
        layer.bias = nn.Parameter(torch.from_numpy(total.astype(weight.dtype)))
