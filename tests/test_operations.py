"""Synaptic operations, sparsity and footprint: against explicit matrices, and against NeuroBench's package."""

import pytest
import torch

from app import Network, Neuron, activation, operations
from app.events import SpikeEvents
from app.operations import Energy, OperationMetrics, connections, size
from app.readout import decision_steps

T, B = 12, 5
DENSE = ["20", "fc30", "fc4"]
STRIDED = ["2x7x6", "conv3c3s2", "conv4c5", "flatten", "fc4"]
AVERAGED = ["2x8x8", "conv3c3", "apool2", "conv4c3", "mpool2", "flatten", "fc4"]
MAXIMUM = ["2x8x8", "mpool2", "conv3c3", "flatten", "fc4"]
SPECS = pytest.mark.parametrize(
    "spec", [DENSE, STRIDED, AVERAGED, MAXIMUM], ids=["dense", "strided", "averaged", "maximum"]
)


def made(spec, engine="layerwise", zeros=0.3):
    torch.manual_seed(1)
    net = Network(spec, Neuron.auto(0.8, 0.7, T), activation(), bias=0.2, engine=engine)
    with torch.no_grad():
        for layer in net.spiking:
            layer.weight.mul_(4).masked_fill_(torch.rand_like(layer.weight) < zeros, 0)
        net.spiking[-1].weight.div_(4)
        net.spiking[-1].bias.fill_(0.5)  # late, but surely
    return net


def inputs(net, samples=B):
    generator = torch.Generator().manual_seed(2)
    return SpikeEvents.from_dense((torch.rand(T, samples, *net.input_shape, generator=generator) < 0.2).float())


def measured(net, events, *cuts):
    metrics = OperationMetrics(len(net.spiking))
    for start, end in zip((0, *cuts), (*cuts, events.batch_size), strict=True):
        part = events.part(slice(start, end))
        metrics.update(net, part, net(part))
    return {name: float(value) for name, value in metrics.compute().items()}


def by_matrices(net, events):
    """Operations of each layer with every synapse written out, in the whole window and until the decision."""
    output = net(events)
    last_B = decision_steps(output.spikes_TBN).clamp(max=T - 1)
    x = events.to_dense()
    whole, until, spiking = [], [], iter(zip(net.spiking, output.layers, strict=True))
    for module in net.layers:
        if not hasattr(module, "synapses"):
            x = module((x, x))[0]
            continue
        layer, activity = next(spiking)
        inputs = x[0, 0].numel()
        each = torch.eye(inputs).view(inputs, 1, *x.shape[2:])
        synapses_MN = layer.synapses.drive(each, layer.weight).flatten(1) != 0
        ops_TB = ((x != 0).flatten(2).float() @ synapses_MN.float()).sum(2)
        whole.append(float(ops_TB.sum()) / B)
        until.append(sum(float(ops_TB[: last_B[b] + 1, b].sum()) for b in range(B)) / B)
        x = activity.dense_spikes()
    return whole, until


@SPECS
def test_operations_are_those_of_every_synapse_written_out(spec):
    net = made(spec)
    events = inputs(net)
    steps_B = decision_steps(net(events).spikes_TBN)
    assert 0 < int(steps_B.min()) < int(steps_B.max()) < T - 1
    found, (whole, until) = measured(net, events), by_matrices(net, events)
    assert sum(until) < sum(whole)
    for k, (one, other) in enumerate(zip(whole, until, strict=True), 1):
        assert found[f"layer{k}/synaptic_operations"] == pytest.approx(one, rel=1e-12)
        assert found[f"layer{k}/decision_synaptic_operations"] == pytest.approx(other, rel=1e-12)
    assert found["synaptic_operations"] == pytest.approx(sum(whole), rel=1e-12)
    assert found["input_synaptic_operations"] == pytest.approx(whole[0], rel=1e-12)
    assert found["decision_synaptic_operations"] == pytest.approx(sum(until), rel=1e-12)
    assert found["macs"] == (pytest.approx(whole[1], rel=1e-12) if "apool2" in spec else 0)


@SPECS
def test_uneven_batches_and_small_parts_count_alike(spec, monkeypatch):
    net = made(spec)
    events = inputs(net)
    once = measured(net, events)
    monkeypatch.setattr(operations, "AT_ONCE", 1)
    assert measured(net, events, 2) == pytest.approx(once, rel=1e-12)


@pytest.mark.parametrize("zeros", [0.0, 0.3])
@pytest.mark.parametrize("spec", [DENSE, STRIDED], ids=["dense", "strided"])
def test_the_compiled_engine_counts_alike(spec, zeros):
    plain, compiled = made(spec, zeros=zeros), made(spec, "event_driven", zeros)
    assert measured(plain, inputs(plain)) == measured(compiled, inputs(compiled))


def test_stopping_at_the_decision_counts_alike_until_then():
    net = made(DENSE, "event_driven", 0.0)
    events, metrics = inputs(net), OperationMetrics(2)
    metrics.update(net, events, net(events, stop_at_first_output=True))
    whole = measured(net, events)
    for name, value in metrics.compute().items():
        if "decision_" in name:
            assert float(value) == whole[name]


def test_a_layer_that_hears_itself_does_so_a_step_later():
    net = made(["20", "rfc30", "fc4"])
    with torch.no_grad():
        net.spiking[0].recurrent_weight.masked_fill_(torch.rand(30, 30) < 0.5, 0)
    events = inputs(net)
    output, found, (whole, until) = net(events), measured(net, events), by_matrices(net, events)
    heard = (net.spiking[0].recurrent_weight != 0).sum(0)
    spikes_TBN, step_B = output.layers[0].dense_spikes(), decision_steps(output.spikes_TBN)
    again = float((spikes_TBN[:-1] @ heard.float()).sum()) / B
    again_until = sum(float((spikes_TBN[: int(step_B[b]), b] @ heard.float()).sum()) for b in range(B)) / B
    assert int(step_B.max()) < T
    assert 0 < again_until < again
    assert found["input_synaptic_operations"] == pytest.approx(whole[0], rel=1e-12)
    assert found["layer1/synaptic_operations"] == pytest.approx(whole[0] + again, rel=1e-12)
    assert found["layer1/decision_synaptic_operations"] == pytest.approx(until[0] + again_until, rel=1e-12)
    assert size(net).dense_synaptic_operations_per_step == 20 * 30 + 30 * 30 + 30 * 4


def test_the_fan_out_of_a_convolution_is_smaller_at_the_borders():
    net = Network(["1x5x5", "conv2c3", "flatten", "fc2"], Neuron.auto(0.9, 0.9, T), activation())
    fan_out = next(connections(net)).fan_out_M().view(5, 5)
    assert fan_out[0].tolist() == [8, 12, 12, 12, 8]
    assert fan_out[2].tolist() == [12, 18, 18, 18, 12]


def test_static_costs():
    net = made(DENSE, zeros=0.0)
    with torch.no_grad():
        net.spiking[0].weight[0] = 0
    found = size(net)
    assert found.parameters == 20 * 30 + 30 + 30 * 4 + 4
    assert found.footprint_bytes == 4 * found.parameters
    assert found.connection_sparsity == 20 / 720
    assert found.dense_synaptic_operations_per_step == 720
    assert found.neurons == 34


def test_energy_is_that_of_the_operations():
    assert Energy().nanojoules(1000, 0) == pytest.approx(0.9)
    assert Energy(mac_pj=10, ac_pj=1).nanojoules(1000, 200) == pytest.approx(2.8)


@SPECS
def test_neurobench_counts_alike(spec):
    pytest.importorskip("neurobench", reason="the package neurobench is not installed")
    from benchmarks.neurobench_costs import compare

    net = made(spec)
    found = compare(net, inputs(net))
    assert found["output spikes"][0] > 0
    macs = found.pop("MACs")
    assert 0 <= macs[0] <= macs[1]  # there a step with none but whole activations counts as ACs
    for name, (theirs, ours) in found.items():
        assert theirs == pytest.approx(ours, rel=1e-12, abs=1e-4 if name == "connection sparsity" else 0), name
