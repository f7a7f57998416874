"""Metrics against loops, in one batch and in uneven pieces."""

import pytest
import torch

from app.activity import LayerActivity
from app.metrics import SpikeMetrics
from app.network import NetworkOutput

T, B, H, N = 20, 7, 6, 3


def outputs(seed=0):
    g = torch.Generator().manual_seed(seed)
    hidden = (torch.rand(T, B, H, generator=g) < 0.1).float()
    hidden[:, :, 5] = 0
    hidden[:10, 3, 4], hidden[:11, 4, 4], hidden[11:, 4, 4], hidden[10:, 3, 4] = 1, 1, 0, 0
    out = (torch.rand(T, B, N, generator=g) < 0.05).float()
    out[:, 2] = 0
    return hidden, out, torch.tensor([0, 1, 2, 0, 1, 1, 0])


def feed(metrics, hidden, out, label, loss):
    output = NetworkOutput(out, out, [LayerActivity.of(hidden), LayerActivity.of(out)])
    metrics.update(output, label, [loss * len(label)])


def by_loops(hidden, out, label):
    firsts, decisions, spikes, correct_first, correct_count = [], [], [], [], []
    for b in range(len(label)):
        first = [next((t for t in range(T) if out[t, b, j]), T) for j in range(N)]
        decision = min(first)
        firsts.append(decision)
        end = min(decision, T - 1) + 1
        decisions.append(float(hidden[:end, b].sum() + out[:end, b].sum()))
        spikes.append(float(hidden[:, b].sum() + out[:, b].sum()))
        counts = [float(out[:, b, j].sum()) for j in range(N)]
        correct_first.append(first.index(min(first)) == label[b])
        correct_count.append(counts.index(max(counts)) == label[b])
    mean = lambda values: sum(float(v) for v in values) / len(values)  # noqa: E731
    return {
        "time_to_first_spike_steps": mean(firsts),
        "decision_spikes": mean(decisions),
        "spikes_per_sample": mean(spikes),
        "accuracy_first": mean(correct_first),
        "accuracy_count": mean(correct_count),
        "layer1/silent_share": float((hidden.sum(0) == 0).double().mean()),
        "layer1/saturated_share": mean([hidden[:, b, j].sum() > T / 2 for b in range(B) for j in range(H)]),
        "layer1/dead_share": float((hidden.sum((0, 1)) == 0).double().mean()),
        "layer2/spikes_per_sample": float(out.sum()) / B,
        "class1/accuracy_first": mean([c for c, true in zip(correct_first, label, strict=True) if true == 1]),
    }


def test_metrics_equal_loops_whole_and_in_uneven_pieces():
    hidden, out, label = outputs()
    whole, pieces = SpikeMetrics([H, N], 3), SpikeMetrics([H, N], 3)
    feed(whole, hidden, out, label, 2.0)
    feed(pieces, hidden[:, :5], out[:, :5], label[:5], 1.0)
    feed(pieces, hidden[:, 5:], out[:, 5:], label[5:], 4.5)
    expected = by_loops(hidden, out, label)
    assert expected["layer1/dead_share"] == pytest.approx(1 / 6)
    assert expected["layer1/saturated_share"] == pytest.approx(1 / 42), "11 of 20 steps, but not 10"
    for metrics in (whole, pieces):
        values = {key: float(value) for key, value in metrics.compute().items()}
        assert {key: values[key] for key in expected} == pytest.approx(expected)
        assert values["loss"] == pytest.approx(2.0)
    assert whole.headline()["spikes"] == pytest.approx(expected["spikes_per_sample"])


def test_reset_and_empty():
    hidden, out, label = outputs()
    metrics = SpikeMetrics([H, N], 3)
    assert metrics.compute() == {}
    feed(metrics, hidden, out, label, 2.0)
    metrics.reset()
    assert metrics.compute() == {}
    feed(metrics, hidden, out, label, 2.0)
    assert float(metrics.compute()["layer1/dead_share"]) == pytest.approx(1 / 6)


def test_no_accuracy_without_labels():
    hidden, out, label = outputs()
    metrics = SpikeMetrics([H, N], 0)
    feed(metrics, hidden, out, label, 2.0)
    assert not [key for key in metrics.compute() if "accuracy" in key]


def test_remembered_batches_count_like_added_ones():
    hidden, out, label = outputs()
    added, remembered = SpikeMetrics([H, N], 3), SpikeMetrics([H, N], 3)
    loss = torch.tensor(0.1, dtype=torch.float64)
    for _ in range(40):
        feed(added, hidden, out, label, 0.1)
        remembered.remember(NetworkOutput(out, out, [LayerActivity.of(hidden), LayerActivity.of(out)]), label, loss)
    assert remembered.headline() == added.headline()
    assert remembered.sums().keys() == added.sums().keys()
    assert all(
        torch.equal(one, two) for one, two in zip(remembered.sums().values(), added.sums().values(), strict=True)
    )
