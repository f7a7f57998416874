"""The shortened window of Kim et al.'s code: what is counted ends when all output neurons of a batch have fired."""

import pytest
import torch

from app import Network, Neuron, timing
from app.activity import LayerActivity
from app.config import load_config
from app.engines import NetworkOutput
from app.errors import UserError
from app.losses.silent import silent_neuron_penalty
from app.metrics import SpikeMetrics
from app.training.build import build_module

STEPS = 8


def trains(*steps_by_neuron_by_sample):
    """Spikes [T, B, N] from the steps at which each neuron of each sample fires."""
    spikes = torch.zeros(STEPS, len(steps_by_neuron_by_sample), len(steps_by_neuron_by_sample[0]))
    for b, neurons in enumerate(steps_by_neuron_by_sample):
        for n, steps in enumerate(neurons):
            spikes[steps, b, n] = 1
    return spikes


def made(hidden, output):
    return NetworkOutput(
        output, output * torch.arange(STEPS).view(-1, 1, 1), [*map(LayerActivity.of, (hidden, output))]
    )


def test_counting_ends_when_the_last_output_neuron_of_the_last_sample_has_fired():
    hidden = trains([[1, 6], [5]], [[], [4, 7]])
    output = trains([[2, 7], [3]], [[4], [1, 6]])  # first spikes at 2, 3, 4 and 1: the window ends with step 4
    cut = made(hidden, output).until_fired()
    assert cut.window_B.tolist() == [5, 5]
    assert cut.layers[0].counts_BN.tolist() == [[1, 0], [0, 1]]
    assert cut.layers[0].silent_share_N.tolist() == [0.5, 0.5]
    assert made(hidden, output).layers[0].silent_share_N.tolist() == [0.5, 0.0]
    assert cut.layers[1].counts_BN.tolist() == [[1, 1], [1, 1]]
    assert cut.layers[0].totals_TB.sum(0).tolist() == [1, 1]
    weight = torch.zeros(2, 3, requires_grad=True)
    silent_neuron_penalty(weight, cut.layers[0].silent_share_N).backward()
    assert weight.grad.unique().item() == pytest.approx(-100 / 3 * 0.5)
    metrics = SpikeMetrics([2, 2], 2, shortens=True)
    metrics.update(cut, torch.tensor([0, 1]), [0.0])
    found = metrics.compute()
    assert (found["window_steps"], found["spikes_per_sample"], found["layer1/silent_share"]) == (5, 3, 0.5)
    assert found["accuracy_count"] == 0.5, "1 to 1 in both samples; ties go to the lowest class"


def test_a_silent_output_neuron_keeps_the_window_whole():
    hidden, output = trains([[1, 6], [5]]), trains([[2, 7], []])
    cut = made(hidden, output).until_fired()
    assert cut.window_B.tolist() == [STEPS]
    assert torch.equal(cut.layers[0].counts_BN, made(hidden, output).layers[0].counts_BN)


@pytest.mark.parametrize("engine", ["layerwise", "event_driven"])
def test_every_engine_counts_in_the_same_window(engine):
    torch.manual_seed(0)
    network = Network(["30", "fc70", "fc3"], Neuron.auto(0.9, 0.8, 40), timing(), 0.03, engine=engine)
    with torch.no_grad():
        for layer in network.spiking:
            layer.weight.mul_(2).add_(0.6 * layer.fan_in**-0.5)
    output = network((torch.rand(40, 5, 30) < 0.1).float())
    cut, last = output.until_fired(), 0
    for b in range(5):
        for n in range(3):
            last = max(last, min(output.spikes_TBN[:, b, n].nonzero().flatten().tolist()))
    assert 0 < last < 39
    assert cut.window_B.tolist() == [last + 1] * 5
    for whole, short in zip(output.layers, cut.layers, strict=True):
        spikes_TBN = whole.dense_spikes()[: last + 1]
        assert torch.equal(short.counts_BN, spikes_TBN.sum(0).int())
        assert torch.equal(short.totals_TB[: last + 1], spikes_TBN.sum(2).int())
        assert not short.dense_spikes()[last + 1 :].any()
        assert short.counts_BN.sum() < whole.counts_BN.sum()


def test_the_window_is_a_setting_of_the_latency_loss():
    config = load_config(["rule=timing", "learning.silent_window=until_fired"])
    assert build_module(config).until_fired
    assert not build_module(load_config(["rule=timing"])).until_fired
    with pytest.raises(UserError, match=r"silent_window=until_fired belongs to loss=latency"):
        load_config(["rule=activation", "loss=count", "learning.silent_window=until_fired"])
