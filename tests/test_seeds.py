"""Streams of random numbers: one for each purpose, none of them another's."""

import numpy as np
import pytest
import torch

from app.config import load_config
from app.data.split import split_train_val
from app.seeds import CHILDREN, KEPT, stream_seed, torch_generator
from app.training.build import build_data, build_network


def weights(*argv):
    return build_network(load_config(list(argv))).spiking[0].weight.detach()


@pytest.mark.parametrize("seed", range(4))
def test_random_spikes_have_nothing_to_do_with_the_first_weights(seed):
    """Drawn alike, an input fired at step t exactly where weight [t, m] was in the lowest 5 % of its range."""
    config = load_config(["task=spike_trains", f"seed={seed}"])
    network = build_network(config)
    batch = next(iter(build_data(config, network).train_dataloader()))
    input_TM, weight_NM = batch.events.to_dense()[:, 0], network.spiking[0].weight.detach()
    is_low_NM = weight_NM < -0.9 * network.spiking[0].fan_in ** -0.5
    assert input_TM.shape == weight_NM.shape == (100, 100)
    both = float((input_TM.bool() & is_low_NM).float().mean())
    assert both == pytest.approx(0.05**2, abs=4 * 0.05 / 100), "0.05 when they were drawn alike"
    drive_TN = input_TM @ weight_NM.t()
    own = drive_TN.diagonal().mean()  # neuron n at step n; its spread over seeds is 0.013
    assert abs(own - drive_TN.mean()) < 0.06, "-0.50 when they were drawn alike"


def test_weights_depend_on_the_seed_alone_and_leave_the_global_stream_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = weights("seed=1")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(weights("seed=1"), first)
    assert torch.equal(weights("seed=1", "rule=timing"), first)
    assert not torch.equal(weights("seed=2"), first)


def test_the_streams_of_children_are_apart_from_each_other_and_from_the_weights():
    starts = [stream_seed(seed, purpose) for seed in range(50) for purpose in (*CHILDREN, "weights")]
    assert len(set(starts)) == len(starts)
    draws = [torch.rand(64, generator=torch_generator(seed, p)) for seed in range(4) for p in (*CHILDREN, "weights")]
    correlation = np.corrcoef(torch.stack(draws).numpy())
    assert np.abs(correlation - np.eye(len(draws))).max() < 0.6


def test_the_numbers_of_a_seed_do_not_change_from_version_to_version():
    """Published runs repeat themselves, and old checkpoints go on with the split and the order of their training."""
    assert stream_seed(7, "task") == 3386250816931739734
    assert (stream_seed(7, "split"), stream_seed(7, "landscape"), stream_seed(7, "order", 2)) == (7, 7, 7_000_023)
    assert set(KEPT) == {"weights", "split", "landscape", "order"}
    _, val = split_train_val(10, 3, 7, "ten samples")
    assert val.tolist() == np.sort(torch.randperm(10, generator=torch.Generator().manual_seed(7))[:3].numpy()).tolist()
    torch.manual_seed(7)
    expected = torch.empty(200, 64).uniform_(-1, 1) / 8
    assert torch.equal(weights("seed=7"), expected)
