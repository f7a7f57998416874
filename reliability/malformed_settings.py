"""Malformed settings as hypothesis strategies: arguments, configuration files, network specifications.

Each ``use_…`` raises UserError if the input is refused; what is accepted must survive a round trip and make a run.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import torch
import yaml
from hypothesis import strategies as st

from app.config import Config, from_dict, info_text, load_config, to_dict, to_yaml
from app.config.schema import Key, keys, sections
from app.errors import UserError
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import antlr
from reliability.malformed_data import damaged

ODD_NAMES = ["", "config", "a..b", "optim.", ".lr", "optim.lr.x", "optim[lr]", "_base_"]
WORDS = [
    "null",
    "~",
    "true",
    "1e-4",
    "-1",
    "0",
    "0.5",
    "nan",
    "inf",
    "1e400",
    "0x1F",
    "${oops}",
    "${seed}",
    "${optim}",
    "${",
    "${oc.env:HOME}",
    "???",
    "[]",
    "{}",
    "[1,2]",
    "[[1]]",
    "[null]",
    "{a:1}",
    "[a",
    "[,]",
    "{[1]:2}",
    "!!binary",
    "&x",
    "*x",
    "auto",
    "antlr",
    "count",
    "sgd",
    "mnist_antlr",
    "/etc",
    ".",
    "..",
    "/",
    "64-true",
    "1:30",
    "''",
    '"',
    "-",
]
LONG = ["[" * 2000, "9" * 5000, "0x" + "f" * 5000, "1" + "0" * 400]
PLAUSIBLE = {
    int: ["0", "1", "2", "-1", "10", "100", "4294967295"],
    float: ["0", "0.5", "1", "3", "1e-300", "1e300"],
    bool: ["true", "false"],
    str: ["a", "cpu", "gpu", "auto", "ddp", "0,1", "ä"],
    list[str]: ["[64,fc10]", "[784,fc3,fc10]", "[2x34x34,flatten,fc10]", "[a]"],
    list[int]: ["[0]", "[1,2]"],
}


def arguments() -> st.SearchStrategy[list[str]]:
    """Command lines of up to four arguments: plausible, odd, and arbitrary text."""
    names = st.sampled_from([*keys(), *sections(), *ODD_NAMES]) | st.text(max_size=8)
    values = st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from(LONG),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=12),
    )
    plausible = st.sampled_from(list(keys().values())).flatmap(_plausible)
    flags = ["--print-config", "rule=timing", "task=spike_trains", "loss=count", "neuron.beta_auto=false"]
    odd = st.builds("{}{}={}".format, st.sampled_from(["", "--"]), names, values)
    return st.lists(st.one_of(plausible, plausible, odd, st.text(max_size=12), st.sampled_from(flags)), max_size=4)


def _plausible(key: Key) -> st.SearchStrategy[str]:
    values = ["null"] if key.is_nullable else []
    for kind in key.choices:
        values += get_args(kind) if get_origin(kind) is Literal else PLAUSIBLE.get(kind, [])
    return st.sampled_from(values).map(lambda value: f"{key.name}={value}")


def use_arguments(argv: list[str], folder: Path) -> None:
    """What ``train.py`` does with its arguments up to the point where it would read data."""
    info_text(argv)
    _check(load_config([argument for argument in argv if argument != "--print-config"]), folder)


def _check(config: Config, folder: Path) -> None:
    from app.training.build import build_run
    from app.training.start import Start

    assert from_dict(to_dict(config)) == config
    path = folder / "input-again.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config([f"config={path}"]) == config
    run = build_run(Start(config, folder / "input-run"))
    assert [list(layer.weight.shape) for layer in run.module.network.spiking]
    assert not run.start.out.exists(), "something was written before the data were read"


def yaml_files() -> st.SearchStrategy[bytes]:
    """YAML files of settings, right and wrong, with damaged bytes, and files that are no YAML."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(WORDS)
    )
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | _mapping(inner), max_leaves=4)
    good = st.sampled_from([{"task": "mnist"}, {"rule": "timing", "optim": {"lr": 1e-3}}, {"network": ["64", "fc10"]}])
    content = st.one_of(good, _mapping(values), values)
    text = content.map(lambda value: yaml.safe_dump(value, allow_unicode=True)) | st.text(max_size=40)
    return damaged(text.map(lambda value: value.encode("utf-8", "surrogatepass")))


def _mapping(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    names = st.sampled_from([*keys(), *sections(), *ODD_NAMES]) | st.text(max_size=4) | st.integers() | st.none()
    return st.dictionaries(names, values, max_size=3)


def use_yaml_file(content: bytes, folder: Path) -> None:
    """Read a file given as ``config=``."""
    path = folder / "input.yaml"
    path.write_bytes(content)
    _check(load_config([f"config={path}"]), folder)


def networks() -> st.SearchStrategy[list[str]]:
    """Specifications of up to four layers, some that fit together and some that cannot be or are far too large."""
    number = st.sampled_from(["1", "2", "3", "4", "8", "0", "-1", "01", "1.5", "", "٣", "99999", "9" * 20])
    shape = (
        st.builds("{}x{}x{}".format, number, number, number) | st.sampled_from(["1x8x8", "2x4x6", "64", "5"]) | number
    )
    last = st.sampled_from([[], ["fc2"], ["flatten", "fc2"], ["flatten", "fc2"]])
    layer = st.one_of(
        st.just("flatten"),
        st.builds("{}{}".format, st.sampled_from(["fc", "apool", "mpool", "FC", "fc ", "pool"]), number),
        st.builds("conv{}c{}".format, number, number),
        st.sampled_from(["fc3", "fc10", "conv2c3", "apool2", "mpool2"]),
        st.text(max_size=6),
    )
    odd = st.builds(lambda first, rest, last: [first, *rest, *last], shape, st.lists(layer, max_size=4), last)
    dense, planar = (
        st.sampled_from(["fc3", "fc1"]),
        st.sampled_from(["conv2c3", "apool2", "mpool2", "conv1c1", "apool3"]),
    )
    fitting = st.builds(lambda rest, last: ["2x8x6", *rest, *last], st.lists(planar, max_size=3), last)
    return st.one_of(odd, odd, fitting, st.lists(dense, max_size=3).map(lambda layers: ["5", *layers, "fc2"]))


def use_network(spec: list[str], folder: Path) -> None:
    """Build a network and run it for three steps."""
    try:
        network = Network(spec, Neuron.auto(0.9, 0.9, 3), antlr())
    except ValueError as error:  # of the core, which names its own argument
        raise UserError(str(error)) from None
    last = network.spiking[-1].shape
    if sum(prod(layer.shape) * layer.fan_in for layer in network.spiking) + prod(network.input_shape) < 2**22:
        output = network(torch.zeros(3, 2, *network.input_shape))
        assert output.spikes_TBN.shape == (3, 2, *last)
        assert len(output.layers) == len(network.spiking)
