"""Losses against their printed gradients, in float64."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from app.events import Batch
from app.losses import LOSSES
from app.losses.count import count_loss
from app.losses.latency import latency_loss, plain_latency_loss
from app.losses.silent import silent_neuron_penalty
from app.losses.spike_train import even_trains, spike_train_loss, trace_kernel
from app.losses.targets import target_counts
from app.readout import decision_steps, first_spike_steps, predict_by_count, predict_by_first

T, B, N = 30, 5, 4


def channels(seed=0, rate=0.08):
    g = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(T, B, N, generator=g) < rate).double()
    spikes[:, 0, 1] = 0
    times = spikes * torch.arange(T).view(T, 1, 1)
    return spikes.requires_grad_(), times.requires_grad_(), torch.tensor([1, 0, 3, 2, 2])


def test_count_loss():
    spikes, times, label = channels()
    target = target_counts(label, N, 3, 1)
    assert target[0].tolist() == [1, 3, 1, 1]
    loss = count_loss(spikes, target)
    loss.backward()
    excess = spikes.detach().sum(0) - target
    assert float(loss) == pytest.approx(float((excess**2).sum() / (T * B)))
    torch.testing.assert_close(spikes.grad, (2 * excess / (T * B)).expand(T, B, N).double())
    assert times.grad is None


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_compiled_latency_loss_equals_the_plain_one(smoothing):
    results = []
    settings = {"beta_softmax": 0.5, "lambda_no_spike": 0.1, "label_smoothing": smoothing}
    for loss_of in (lambda *args: plain_latency_loss(*args, *settings.values()), partial(latency_loss, **settings)):
        spikes, times, label = (x.detach().float() if x.is_floating_point() else x for x in channels())
        spikes.requires_grad_()
        times.requires_grad_()
        loss = loss_of(spikes, times, label)
        (3 * loss).backward()
        results.append((loss.detach(), spikes.grad, times.grad))
    assert (results[0][1] != 0).any()
    assert (results[0][2] != 0).any()
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-6, atol=1e-7)


def test_latency_loss():
    spikes, times, label = channels()
    loss = latency_loss(spikes, times, label, beta_softmax=0.5, lambda_no_spike=0.1)
    loss.backward()
    first = first_spike_steps(spikes.detach())
    z = torch.where(first < T, 0.5 * (T - first), 0.0).double()
    silent = first[torch.arange(B), label] == T
    assert silent[0]
    assert not silent.all()
    cross = -torch.log_softmax(z, 1)[torch.arange(B), label].mean()
    assert float(loss) == pytest.approx(float(cross + 0.1 * silent.double().mean()))
    expected_t, expected_S = torch.zeros(T, B, N).double(), torch.zeros(T, B, N).double()
    for b in range(B):
        for j in range(N):
            if first[b, j] < T:
                expected_t[first[b, j], b, j] = -0.5 * (torch.softmax(z[b], 0)[j] - float(j == label[b])) / B
        if silent[b]:
            expected_S[:, b, label[b]] = -0.1 / B
    torch.testing.assert_close(times.grad, expected_t)
    torch.testing.assert_close(spikes.grad, expected_S)


def test_label_smoothing_is_that_of_torch_in_value_and_gradient():
    spikes, times, label = channels()
    first = first_spike_steps(spikes.detach())
    loss = LOSSES["latency"](beta_softmax=0.5, lambda_no_spike=0, label_smoothing=0.2)
    loss(spikes, times, Batch(None, label)).backward()
    z = torch.where(first < T, 0.5 * (T - first), 0.0).double().requires_grad_()
    expected = F.cross_entropy(z, label, label_smoothing=0.2)
    expected.backward()
    assert float(
        latency_loss(spikes, times, label, beta_softmax=0.5, lambda_no_spike=0, label_smoothing=0.2)
    ) == pytest.approx(float(expected))
    expected_t = torch.zeros(T + 1, B, N).double().scatter_(0, first[None], -0.5 * z.grad[None])[:T]
    torch.testing.assert_close(times.grad, expected_t)
    assert not torch.allclose(z.grad, torch.autograd.grad(F.cross_entropy(z, label), z)[0])


@pytest.mark.parametrize("kappa_exp", [0.0, 0.6, 0.95, 1.0])
def test_spike_train_loss(kappa_exp):
    spikes, times, _ = channels(rate=0.2)
    target = (torch.rand(T, B, N, generator=torch.Generator().manual_seed(5)) < 0.1).double()
    loss = spike_train_loss(spikes, times, target, kappa_exp=kappa_exp)
    loss.backward()
    kappa = [kappa_exp**k for k in range(T) if kappa_exp**k > 1e-6]
    assert trace_kernel(kappa_exp, T).tolist() == pytest.approx(kappa)
    at = lambda k: kappa[k] if 0 <= k < len(kappa) else 0.0  # noqa: E731
    difference = (spikes - target).detach()
    d = torch.zeros(T + 200, B, N).double()
    for t in range(T + 200):
        for k in range(len(kappa)):
            if 0 <= t - k < T:
                d[t] += kappa[k] * difference[t - k]
    assert float(loss) == pytest.approx(float((d**2).sum() / (T * B)))
    expected_S, expected_t = torch.zeros(T, B, N).double(), torch.zeros(T, B, N).double()
    for t in range(T):
        for k in range(-1, len(kappa) + 1):
            if t + k >= 0:
                expected_S[t] += 2 / (T * B) * at(k) * d[t + k]
                expected_t[t] -= 2 / (T * B) * (at(k + 1) - at(k - 1)) / 2 * d[t + k]
    torch.testing.assert_close(spikes.grad, expected_S)
    torch.testing.assert_close(times.grad, expected_t * spikes.detach())


def test_silent_penalty_is_a_regulariser_of_silent_neurons():
    weight = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    share = torch.tensor([0.0, 0.25, 1.0])
    silent_neuron_penalty(weight, share, 100.0).backward()
    torch.testing.assert_close(weight.grad, -(100 / 8) * share.double()[:, None].expand(3, 8))


def test_even_trains_hold_as_many_spikes_as_asked():
    counts = torch.tensor([[0.0, 1, 3, 30, 99]])
    trains = even_trains(counts, T)
    assert trains.shape == (T, 1, 5)
    assert trains.sum(0).tolist() == [[0, 1, 3, 30, 30]]
    assert set(trains.unique().tolist()) <= {0.0, 1.0}
    assert trains[:, 0, 1].argmax() == 15 or trains[:, 0, 1].argmax() == 14
    assert trains[:, 0, 2].nonzero().flatten().diff().tolist() == [10, 10]


def test_readouts_and_their_ties():
    spikes = torch.zeros(6, 3, 3)
    spikes[2, 0, 2] = spikes[2, 0, 1] = spikes[4, 0, 0] = spikes[5, 0, 0] = 1
    spikes[1, 1, 1] = 1
    first = first_spike_steps(spikes)
    assert first.tolist() == [[4, 2, 2], [6, 1, 6], [6, 6, 6]]
    assert predict_by_first(first).tolist() == [1, 1, 0]
    assert predict_by_count(spikes.sum(0)).tolist() == [0, 1, 0]
    assert decision_steps(spikes).tolist() == [2, 1, 6]
