"""Delays and recurrent layers in the configuration: what cannot be is refused by a sentence with the remedy."""

import pytest

from app.config import load_config
from app.errors import UserError


def test_there_are_none_unless_asked_for():
    config = load_config(["task=digits"])
    assert config.delays.kind is None
    assert not any(entry.startswith("rfc") for entry in config.network)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["delays.kind=slow"], "delays.kind expects one of axonal, dendritic, synaptic or null, got 'slow'"),
        (["delays.max_steps=5"], "delays.max_steps=5 has no effect without delays; use delays.kind=axonal"),
        (["delays.learn=false"], "delays.learn=False has no effect without delays"),
        (["delays.kind=axonal", "delays.max_steps=0"], "delays.max_steps=0 is out of range"),
        (
            ["delays.kind=axonal", "delays.max_steps=50", "time_steps=50"],
            "delays.max_steps=50 is as long as the window of time_steps=50; lower it",
        ),
        (
            ["delays.kind=axonal", "delays.learn=false", "delays.lr_factor=3"],
            "delays.lr_factor=3 has no effect with delays.learn=false",
        ),
        (
            ["rule=hm2bp", "delays.kind=synaptic"],
            "rule=hm2bp differentiates whole layers and has no equation for delays.kind=synaptic",
        ),
        (
            ["rule=hm2bp", "network=[64,rfc20,fc10]"],
            "no equation for the recurrent layer rfc20 of network; use fc20, or another rule such as rule=antlr",
        ),
    ],
)
def test_refusals(argv, sentence):
    with pytest.raises(UserError) as caught:
        load_config(["task=digits", *argv])
    assert sentence in str(caught.value)
