"""Layers that fire: the initialisation by a target share, and warnings of dead and flooded layers."""

import pytest
import torch

from app.callbacks.layer_health import diagnose
from app.callbacks.target_rate import firing_share, fit_biases
from app.events import SpikeEvents
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import antlr
from tests.support.run_tools import checkpoint, run

SAMPLES = 100


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def events(inputs: tuple[int, ...]) -> SpikeEvents:
    random = torch.rand(40, SAMPLES, *inputs, generator=torch.Generator().manual_seed(0))
    return SpikeEvents.from_dense((random < 0.03).float())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "spec", [["30", "fc40", "fc30", "fc10"], ["2x5x5", "conv4c3", "flatten", "fc10"]], ids=["dense", "conv"]
)
def test_hidden_neurons_fire_on_the_target_share_and_output_neurons_always(spec, share):
    torch.manual_seed(0)
    network = Network(spec, Neuron.auto(0.95, 0.9, 40), antlr())
    before = [layer.weight.clone() for layer in network.spiking]
    batch = events(network.input_shape)
    fit_biases(network, batch, share)
    for depth, layer in enumerate(network.spiking):
        shares = firing_share(network, batch, depth)
        assert torch.equal(layer.weight, before[depth])
        if layer is network.spiking[-1]:
            assert (shares == 1).all()
            continue
        assert (shares >= share).all()
        assert (shares <= share + 0.15).all(), "samples may be alike, hence steps of more than one"
        assert shares.mean() < share + 0.04


def test_a_run_starts_with_it_and_the_seed_decides():
    argv = [
        "init=target_rate",
        "init_target_share=0.3",
        "trainer.max_epochs=1",
        "optim.lr=1e-12",
        "trainer.limit_train_batches=1",
    ]
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(f"out={out}", f"seed={seed}", *argv)
    biases = [checkpoint(out)["state_dict"]["network.layers.0.bias"] for out in "abc"]
    assert torch.equal(biases[0], biases[1])
    assert not torch.equal(biases[0], biases[2])
    assert len(biases[0].unique()) > 10, "each neuron has its own"


@pytest.mark.parametrize(("bias", "words"), [(-100, "layer 1 fired no spike"), (1000, "layer 1 floods")])
def test_a_layer_that_dies_or_floods_is_named_once_with_a_remedy(bias, words, capsys):
    run("out=o", f"init_bias_center={bias}", "optim.lr=1e-9")
    printed = capsys.readouterr().err
    assert printed.count(words) == 1, "not again in the second epoch"
    assert "in epoch 0 layer 1" in printed
    assert "lower optim.lr" in printed


def test_healthy_layers_are_not_mentioned():
    values = {"layer1/spikes_per_sample": 0.1, "layer1/saturated_share": 0.5}
    assert diagnose(values) == {}
    assert len(diagnose({"layer1/spikes_per_sample": 0.0, "layer1/saturated_share": 0.0})) == 1
    assert len(diagnose({"layer1/spikes_per_sample": 9.0, "layer1/saturated_share": 0.51})) == 1
