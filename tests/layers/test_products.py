"""products=bf16 and tf32: the switch reaches every product, rounds no more than it says, and nothing else."""

import pytest
import torch

import train
from app.errors import UserError
from app.layers.delays import Delays
from app.layers.synapses import Conv, Dense
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import antlr

BF16 = 2.0**-8
"""The unit roundoff of bfloat16; an operand or a result is off by no more than this share."""


def operands(kind):
    torch.manual_seed(0)
    shapes = {"dense": ((9, 4, 30), (9, 4, 20), (20, 30)), "conv": ((3, 2, 2, 8, 8), (3, 2, 5, 8, 8), (5, 2, 3, 3))}
    below, above, weight = shapes[kind]
    return (torch.rand(below) < 0.3).float(), torch.randn(above), torch.randn(weight)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_every_product_is_rounded_once_and_comes_out_as_it_went_in(kind):
    spikes, error, weight = operands(kind)
    exact, rounded = (Dense(), Dense("bf16")) if kind == "dense" else (Conv(), Conv(1, "bf16"))
    for ask in (
        lambda s: s.drive(spikes, weight),
        lambda s: s.pull_back(error, weight, spikes),
        lambda s: s.weight_gradient(error, weight, spikes),
    ):
        plain, other = ask(exact), ask(rounded)
        assert other.dtype == torch.float32
        assert torch.equal(other, other.bfloat16().float())
        assert 0 < (other - plain).norm() <= 3 * BF16 * plain.norm()


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_tf32_and_float32_are_the_same_where_there_is_no_gpu(kind):
    spikes, error, weight = operands(kind)
    one, other = (Dense(), Dense("tf32")) if kind == "dense" else (Conv(), Conv(1, "tf32"))
    assert torch.equal(one.drive(spikes, weight), other.drive(spikes, weight))
    assert torch.equal(one.pull_back(error, weight, spikes), other.pull_back(error, weight, spikes))


def network(products, engine="auto"):
    torch.manual_seed(0)
    return Network(["30", "fc20", "fc5"], Neuron.auto(0.9, 0.9, 20), antlr(), 0.02, engine, products=products)


def test_states_stay_as_wide_as_the_weights_and_the_compiled_engine_steps_aside():
    spikes = (torch.rand(20, 4, 30, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    made = network("bf16")
    choice = made.choose_engine(spikes)
    assert (choice.name, choice.passed_over["event_driven"]) == (
        "layerwise",
        "its products are bf16 instead of float32",
    )
    states = made.record(spikes)
    assert {one.dtype for state in states for one in state[:2]} == {torch.float32}
    assert not torch.equal(states[0].potential_TBN, states[0].potential_TBN.bfloat16().float())
    assert not torch.equal(states[0].potential_TBN, network("float32").record(spikes)[0].potential_TBN)
    made(spikes).spikes_TBN.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in made.parameters())
    assert network("tf32").choose_engine(spikes).name == "event_driven"


def test_what_cannot_be_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="products='fp8' is unknown; choose float32, tf32, bf16"):
        network("fp8")
    quiet = ["trainer.accelerator=cpu", "tracking.mode=disabled", "out=o"]
    with pytest.raises(UserError, match=r"products=bf16 is for GPUs"):
        train.main(["products=bf16", *quiet])
    with pytest.raises(UserError, match=r"products=tf32 rounds what trainer\.precision=64-true keeps"):
        train.main(["products=tf32", "trainer.precision=64-true", *quiet])
    with pytest.raises(UserError, match=r"products expects one of float32, tf32, bf16"):
        train.main(["products=half", *quiet])
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("spec", "delays"), [(["30", "rfc20"], None), (["30", "fc20"], Delays("axonal", 5))])
def test_layers_whose_products_would_not_all_be_rounded_are_refused(spec, delays):
    with pytest.raises(ValueError, match="products=bf16 is not known to"):
        Network(spec, Neuron.auto(0.9, 0.9, 20), antlr(), delays=delays, products="bf16")
