"""NIR files: what is written is what runs here, and in another framework."""

import numpy as np
import pytest
import torch

from app import Network, Neuron, activation, antlr
from app.errors import UserError
from app.exchange import from_nir, to_nir
from app.layers.delays import Delays
from benchmarks.nir_readers import in_norse, in_snntorch

nir = pytest.importorskip("nir", reason="the package nir is not installed")
T = 40


def network(spec, bias=0.0, reset="potential", alpha_i=0.8, **more):
    torch.manual_seed(1)
    neuron = Neuron(0.9, alpha_i, 0.3, 1.5, 0.7, 1.1, reset=reset, **more)
    net = Network(spec, neuron, antlr(), engine="layerwise")
    with torch.no_grad():
        for layer in net.spiking:
            layer.weight.mul_(2 if alpha_i else 6)
            layer.bias.uniform_(-bias, bias)
        net.spiking[-1].weight.abs_()
    return net


def inputs(net, samples=8):
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(T, samples, *net.input_shape, generator=generator) < 0.15).float()


def stored(net, path, **options):
    nir.write(path, to_nir(net, **options))
    return nir.read(path)


def same(ours, theirs):
    """Equal spikes, and enough of them that this says something."""
    assert 0.01 < ours.mean() < 0.9
    assert torch.equal(ours, theirs)


CONV = ["2x8x8", "conv3c3", "apool2", "flatten", "fc12", "fc1"]


@pytest.mark.parametrize("discretisation", ["euler", "exponential"])
@pytest.mark.parametrize("spec", [["20", "fc30", "fc10"], CONV], ids=["dense", "conv"])
def test_a_round_trip_keeps_the_spikes(spec, discretisation, tmp_path):
    net = network(spec, bias=0.1)
    back = from_nir(stored(net, tmp_path / "net.nir", discretisation=discretisation), activation())
    assert back.spec == net.spec
    spikes = inputs(net)
    for ours, theirs in zip(net(spikes).layers, back(spikes).layers, strict=True):
        same(ours.dense_spikes(), theirs.dense_spikes())


def test_a_recurrent_layer_is_a_cycle(tmp_path):
    net = network(["20", "rfc30", "fc12", "rfc10"], bias=0.1)
    graph = stored(net, tmp_path / "net.nir")
    assert {("0_neurons", "0_recurrent"), ("0_recurrent", "0_neurons")} <= set(graph.edges)
    back = from_nir(graph, activation())
    assert back.spec == net.spec
    spikes = inputs(net)
    for ours, theirs in zip(net(spikes).layers, back(spikes).layers, strict=True):
        same(ours.dense_spikes(), theirs.dense_spikes())
    for layer in net.spiking[::2]:
        layer.recurrent_weight.data.zero_()
    assert not torch.equal(net(spikes).spikes_TBN, back(spikes).spikes_TBN), "the loops matter"


def test_delays_are_refused():
    net = Network(["20", "fc10"], Neuron(0.9, 0.8, 0.3, reset="potential"), antlr(), delays=Delays("axonal", 5))
    with pytest.raises(UserError, match=r"delays.kind=axonal: .* hold no delays; train with delays.kind=null"):
        to_nir(net)


def test_shapes_and_resets_are_written_out(tmp_path):
    graph = stored(network(CONV, bias=0.1), tmp_path / "net.nir")
    assert graph.nodes["0_neurons"].v_reset.shape == graph.nodes["0_neurons"].v_leak.shape == (3, 8, 8)
    assert not graph.nodes["0_neurons"].v_reset.any()
    assert graph.nodes["4_neurons"].v_threshold.shape == (1,)
    assert graph.nodes["4"].weight.shape == (1, 12)
    assert np.array_equal(graph.nodes["output"].output_type["output"], [1])


def test_a_potential_that_just_reaches_the_threshold_fires_there_too(tmp_path):
    graph = stored(network(["20", "fc10"]), tmp_path / "net.nir")
    threshold = graph.nodes["0_neurons"].v_threshold.astype(np.float32)
    assert (np.float32(1.1) > threshold).all()
    assert from_nir(graph, activation()).neuron.threshold == np.float32(1.1)


def test_without_a_synaptic_current_the_bias_is_that_of_the_weights(tmp_path):
    net = network(["20", "fc30", "fc10"], bias=0.1, alpha_i=0.0)
    graph = stored(net, tmp_path / "net.nir")
    assert isinstance(graph.nodes["0"], nir.Affine)
    assert not graph.nodes["0_neurons"].v_leak.any()
    same(net(inputs(net)).spikes_TBN, from_nir(graph, activation())(inputs(net)).spikes_TBN)


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        (["20", "fc10"], {"reset": "both"}, "neuron.reset=both: NIR has no such neuron"),
        (["20", "fc10"], {"reset": "subtract"}, "allow_other_reset=true"),
        (["20", "fc10"], {"max_spikes": 1}, "neuron.max_spikes=1"),
        (["20", "fc10"], {"alpha_i": 1.0}, "neuron.alpha_i=1"),
        (["2x8x8", "mpool2", "flatten", "fc10"], {}, "no node for mpool2"),
    ],
)
def test_what_nir_does_not_have_is_refused_by_name(spec, options, words):
    with pytest.raises(UserError, match=words):
        to_nir(network(spec, **options))


def test_another_reset_is_written_when_that_is_asked_for():
    assert "0_neurons" in to_nir(network(["20", "fc10"], reset="both"), allow_other_reset=True).nodes


@pytest.mark.parametrize(
    ("key", "factor", "said"), [("tau_syn", 2, "alpha_i .0.8 and 0.9."), ("v_threshold", 3, "threshold")]
)
def test_layers_with_other_neurons_are_refused_by_name(key, factor, said):
    graph = to_nir(network(["20", "fc12", "fc10"]))
    values = getattr(graph.nodes["1_neurons"], key)
    values *= factor
    if key == "tau_syn":
        graph.nodes["1_neurons"].w_in = graph.nodes["1_neurons"].w_in * factor
    with pytest.raises(
        UserError, match=f"nodes 0_neurons and 1_neurons differ in {said}.*same constants for all neurons"
    ):
        from_nir(graph, activation())


def test_foreign_graphs_are_refused_in_a_sentence():
    graph = to_nir(network(["20", "fc10"]))
    graph.nodes["0_neurons"].v_reset += 0.5
    with pytest.raises(UserError, match=r"v_reset=0\.5"):
        from_nir(graph, activation())
    graph.nodes["0_neurons"].v_reset -= 0.5
    graph.nodes["0_neurons"].tau_mem[0] *= 2
    with pytest.raises(UserError, match=r"node 0_neurons: its neurons differ in tau_mem \(0\.001 to 0\.002\); a"):
        from_nir(graph, activation())
    graph.edges.append(("0_neurons", "0"))
    with pytest.raises(UserError, match="one chain"):
        from_nir(graph, activation())


@pytest.mark.parametrize("spec", [["20", "fc30", "fc10"], CONV], ids=["dense", "conv"])
def test_snntorch_gives_the_same_spikes(spec, tmp_path):
    pytest.importorskip("snntorch", reason="snnTorch is not installed")
    net = network(spec)
    spikes = inputs(net)
    same(net(spikes).spikes_TBN, in_snntorch(stored(net, tmp_path / "net.nir"), spikes))


def test_snntorch_gives_the_same_spikes_with_a_bias_given_as_current(tmp_path):
    """It refuses v_leak; docs/EXCHANGE.md says what to do instead."""
    reader = pytest.importorskip("snntorch.import_nir", reason="snnTorch is not installed")
    net = network(["20", "fc30", "fc10"], bias=0.1)
    graph = stored(net, tmp_path / "net.nir")
    with pytest.raises(AssertionError, match="v_leak"):
        reader.import_from_nir(graph)
    spikes = inputs(net)
    same(net(spikes).spikes_TBN, in_snntorch(graph, spikes))
    assert not torch.equal(net(spikes).spikes_TBN, in_snntorch(graph, spikes, "dropped"))


def test_another_reset_gives_other_spikes_in_snntorch():
    """Why it is refused unless it is asked for."""
    pytest.importorskip("snntorch", reason="snnTorch is not installed")
    net = network(["20", "fc30", "fc10"], reset="both")
    spikes = inputs(net)
    assert not torch.equal(net(spikes).spikes_TBN, in_snntorch(to_nir(net, allow_other_reset=True), spikes))


def test_norse_gives_the_same_spikes(tmp_path):
    pytest.importorskip("norse", reason="Norse is not installed")
    net = network(["20", "fc30", "fc10"], bias=0.1)
    spikes = inputs(net)
    same(net(spikes).spikes_TBN, in_norse(stored(net, tmp_path / "net.nir"), spikes))
