"""What configuration makes of networks and optimisers."""

import torch

from app.config import load_config
from app.training.build import build_module, build_network


def test_initial_weights_have_the_mean_that_was_asked_for():
    """U(mean ± 1) / √fan_in; everything else is what it is without."""
    plain = build_network(load_config(["task=yinyang", "init_weight_mean=0"]))
    moved = build_network(load_config(["task=yinyang", "init_weight_mean=1"]))
    for one, other in zip(plain.spiking, moved.spiking, strict=True):
        assert torch.equal(one.weight + one.fan_in**-0.5, other.weight)
        assert torch.equal(one.bias, other.bias)
        assert (other.weight >= 0).all()


def test_learned_constants_have_a_learning_rate_of_their_own_and_no_weight_decay():
    """Decay would pull every α to 1/2 and every θ to 1."""
    settings = [
        "task=yinyang",
        "neuron.learn=[alpha_v,threshold]",
        "neuron.learn_lr_factor=10",
        "optim.lr=0.01",
        "optim.schedule=constant",
    ]
    module = build_module(load_config([*settings, "optim.weight_decay=0.5"]))
    weights, constants = module.configure_optimizers()["optimizer"].param_groups
    assert len(weights["params"]) == len(constants["params"]) == 4
    assert (weights["lr"], weights["weight_decay"]) == (0.01, 0.5)
    assert (constants["lr"], constants["weight_decay"]) == (0.1, 0.0)


def test_without_learned_constants_there_is_one_group():
    optimizer = build_module(load_config(["task=yinyang", "optim.schedule=constant"])).configure_optimizers()[
        "optimizer"
    ]
    assert len(optimizer.param_groups) == 1
