"""Networks from specifications, and every allowed pair of rule and loss."""

import pytest
import torch

from app.events import Batch, SpikeEvents
from app.losses import LOSSES
from app.network import Network
from app.neuron.lif import Neuron
from app.neuron.surrogate import Exponential, Rectangular
from app.rules import Rule, activation, antlr, timing

T = 40
NEURON = Neuron.auto(0.95, 0.9, T)
RULES = {
    "activation": activation(),
    "activation-rectangular": activation(Rectangular(0.7)),
    "activation-rnn": activation(variant="rnn"),
    "activation-slayer": activation(variant="slayer"),
    "timing": timing(),
    "antlr": antlr(),
    "antlr-weighted": antlr(0.5, 2.0, Exponential(0.3, 1.0)),
}
NETWORKS = {
    "dense": ["12", "fc16", "fc4"],
    "deep": ["12", "fc16", "fc15", "fc14", "fc4"],
    "conv": ["2x6x6", "conv4c3", "apool2", "conv3c3", "flatten", "fc4"],
    "maxpool": ["2x6x6", "conv4c3", "mpool2", "flatten", "fc8", "fc4"],
}
PAIRS = [(rule, loss) for rule in RULES for loss in LOSSES if (rule, loss) != ("timing", "count")]


def batch_for(network: Network, batch_size: int = 5, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(T, batch_size, *network.input_shape, generator=g) < 0.2).float()
    return Batch(SpikeEvents.from_dense(spikes), torch.arange(batch_size) % 4)


def lively(spec: list[str], rule: Rule, **options) -> Network:
    """A network whose neurons fire, but not always."""
    torch.manual_seed(1)
    network = Network(spec, NEURON, rule, **options)
    for layer in network.spiking:
        layer.weight.data += 0.5 * layer.fan_in**-0.5
    return network


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize(("rule", "loss"), PAIRS)
def test_every_allowed_pair_gives_every_parameter_a_gradient(rule, loss, spec):
    network = lively(spec, RULES[rule], engine="reference")
    batch = batch_for(network)
    output = network(batch.events)
    assert all(0 < int(a.totals_TB.sum()) < a.dense_spikes().numel() for a in output.layers)
    settings = {"beta_softmax": 0.2} if loss == "latency" else {"max_target_spikes": 3, "min_target_spikes": 1}
    LOSSES[loss](**settings)(*output[:2], batch).backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        if (rule.split("-")[0], loss) != ("activation", "latency"):
            assert parameter.grad.norm() > 0, name


def test_timing_with_count_has_no_gradient_at_all():
    network = lively(NETWORKS["dense"], timing())
    batch = batch_for(network)
    LOSSES["count"]()(*network(batch.events)[:2], batch).backward()
    assert all(p.grad.norm() == 0 for p in network.parameters())


def test_antlr_is_the_sum_of_both_rules_at_the_output_layer():
    gradients = {}
    for name in ("activation", "timing", "antlr"):
        network = lively(["12", "fc4"], RULES[name])
        batch = batch_for(network)
        LOSSES["spike_train"](3, 1)(*network(batch.events)[:2], batch).backward()
        gradients[name] = network.spiking[0].weight.grad
    torch.testing.assert_close(gradients["antlr"], gradients["activation"] + gradients["timing"])


def test_gradients_accumulate():
    network = lively(NETWORKS["dense"], antlr())
    batch, objective = batch_for(network), LOSSES["latency"]()
    objective(*network(batch.events)[:2], batch).backward()
    once = [p.grad.clone() for p in network.parameters()]
    objective(*network(batch.events)[:2], batch).backward()
    for parameter, first in zip(network.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * first)


def test_events_and_dense_input_are_the_same():
    network = lively(NETWORKS["conv"], antlr())
    events = batch_for(network).events
    assert torch.equal(network(events).spikes_TBN, network(events.to_dense()).spikes_TBN)


def test_layer_activity():
    network = lively(NETWORKS["deep"], antlr())
    output = network(batch_for(network).events)
    for activity, layer in zip(output.layers, network.spiking, strict=True):
        spikes = activity.dense_spikes()
        assert spikes.shape == (T, 5, *layer.shape)
        assert torch.equal(activity.counts_BN, spikes.sum(0).int())
        assert torch.equal(activity.totals_TB, spikes.sum(2).int())
        until = torch.tensor([0, 3, 10, T - 1, T])
        expected = [float(spikes[: s + 1, b].sum()) for b, s in enumerate(until.tolist())]
        assert activity.count_until(until).tolist() == expected
        assert torch.equal(activity.silent_share_N, (spikes.sum(0) == 0).float().mean(0))


def test_initial_weights_and_biases():
    network = Network(["100", "fc50", "fc10"], NEURON, antlr(), bias=0.25)
    for layer in network.spiking:
        limit = layer.fan_in**-0.5
        assert 0.9 * limit < float(layer.weight.detach().abs().max()) <= limit
        assert (layer.bias == 0.25).all()


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (["784"], "needs an input shape"),
        (["784", "fc10x"], "'fc10x'"),
        (["784", "fc0"], "'fc0'"),
        (["7a", "fc10"], "'7a'"),
        (["2x34", "fc10"], "'2x34'"),
        (["2x34x34", "fc10"], "put flatten before it"),
        (["784", "conv4c3", "flatten", "fc10"], "'conv4c3'"),
        (["1x8x8", "conv4c4", "flatten", "fc10"], "even kernel"),
        (["1x8x6", "conv4c3s7", "flatten", "fc10"], "smaller stride"),
        (["1x8x8", "conv4c3s0", "flatten", "fc10"], "'conv4c3s0'"),
        (["1x8x8", "apool9", "flatten", "fc10"], "'apool9'"),
        (["1x8x8", "conv4c3"], "must end with"),
        (["64", "fc10", "flatten"], "must end with"),
    ],
)
def test_a_bad_specification_names_its_bad_entry(spec, named):
    with pytest.raises(ValueError, match=named):
        Network(spec, NEURON, antlr())


@pytest.mark.parametrize("variant", ["bptt", "SRM", ""])
def test_an_unknown_variant_is_refused(variant):
    with pytest.raises(ValueError, match="must be one of srm, rnn, slayer"):
        activation(variant=variant)


def test_a_stride_leaves_every_second_row_and_column():
    torch.manual_seed(0)
    whole, halved = (Network(["2x7x6", entry, "flatten", "fc4"], NEURON, antlr()) for entry in ("conv3c3", "conv3c3s2"))
    halved.spiking[0].load_state_dict(whole.spiking[0].state_dict())
    assert halved.spiking[0].shape == (3, 4, 3)
    spikes = (torch.rand(T, 2, 2, 7, 6) < 0.2).float()
    drives = [n.spiking[0].synapses.drive(spikes, n.spiking[0].weight) for n in (whole, halved)]
    assert torch.allclose(drives[1], drives[0][..., ::2, ::2], atol=1e-6)
