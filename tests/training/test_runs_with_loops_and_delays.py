"""Runs of networks with recurrent layers and delays: start, resuming, clipping, spike costs, and what is not finite."""

import math

import torch

import train
from app.config import load_config
from app.finite import PARAMETERS, gradient_trouble, state_trouble
from app.training.build import build_module, build_network
from app.training.trained import load_trained

QUIET = ["trainer.enable_progress_bar=false", "tracking.mode=disabled", "probes.raster=false"]
LOOPED = [
    "network=[64,rfc12,fc10]",
    "time_steps=30",
    "delays.kind=synaptic",
    "delays.max_steps=4",
    "init_bias_center=1",
]


def test_a_run_trains_recurrent_weights_and_delays(tmp_path):
    """With a spike cost and the health of layers looked at; that it resumes bit for bit is a test of resuming."""
    options = [*LOOPED, "objective.spike_cost=0.001", f"out={tmp_path / 'run'}", "trainer.max_epochs=1"]
    assert train.main([*options, "trainer.limit_train_batches=3", "trainer.limit_val_batches=1", *QUIET]) == 0
    start = build_network(load_config(options)).state_dict()
    end = load_trained(tmp_path / "run").module.network.state_dict()
    for name in ("layers.0.recurrent_weight", "layers.0.delay_steps", "layers.1.delay_steps"):
        assert not torch.equal(start[name], end[name]), name


def test_starting_weights_have_streams_of_their_own():
    """A layer's weights are the same with and without a loop and delays, whose start depends on the seed alone."""
    plain, looped, other = (
        build_network(load_config(argv))
        for argv in (
            ["network=[64,fc12,fc10]", "time_steps=30", "init_bias_center=1"],
            LOOPED,
            [one.replace("synaptic", "axonal") for one in LOOPED],
        )
    )
    for one in (looped, other):
        for name, weight in plain.named_parameters():
            assert torch.equal(weight, one.get_parameter(name)), name
    assert torch.equal(looped.spiking[0].recurrent_weight, other.spiking[0].recurrent_weight)
    again, elsewhere = (build_network(load_config([*LOOPED, f"seed={seed}"])) for seed in (0, 1))
    for name in ("recurrent_weight", "delay_steps"):
        assert torch.equal(getattr(looped.spiking[0], name), getattr(again.spiking[0], name))
        assert not torch.equal(getattr(looped.spiking[0], name), getattr(elsewhere.spiking[0], name))
    assert 0 < looped.spiking[0].delay_steps.min() < looped.spiking[0].delay_steps.max() < 4
    assert looped.spiking[0].recurrent_weight.abs().max() <= 12**-0.5


def test_delays_have_a_learning_rate_of_their_own_and_no_weight_decay():
    module = build_module(
        load_config(
            [*LOOPED, "optim.schedule=constant", "optim.lr=0.01", "optim.weight_decay=0.1", "delays.lr_factor=30"]
        )
    )
    weights, delays = module.configure_optimizers()["optimizer"].param_groups
    assert (weights["lr"], weights["weight_decay"], len(weights["params"])) == (0.01, 0.1, 5)
    assert (delays["lr"], delays["weight_decay"], len(delays["params"])) == (0.3, 0.0, 2)
    fixed = build_module(
        load_config([*LOOPED, "delays.learn=false", "optim.schedule=constant"])
    ).configure_optimizers()["optimizer"]
    assert [len(group["params"]) for group in fixed.param_groups] == [5]


def test_what_is_not_finite_is_found_in_loops_and_delays():
    network = build_network(load_config(LOOPED))
    for name in PARAMETERS:
        for layer in network.spiking:
            for parameter in layer.parameters():
                parameter.grad = torch.zeros_like(parameter)
        assert gradient_trouble(network) is None
        getattr(network.spiking[0], name).grad.view(-1)[0] = math.inf
        assert f"layer 1's {name}" in gradient_trouble(network).what
    for name in ("recurrent_weight", "delay_steps"):
        network = build_network(load_config(LOOPED))
        assert state_trouble(network, [], 30) is None
        getattr(network.spiking[0], name).data.view(-1)[0] = math.nan
        assert state_trouble(network, [], 30).what == "the weights of layer 1 are not finite"
