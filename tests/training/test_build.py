"""What configuration makes of networks and optimisers."""

import torch

from app.config import load_config
from app.training.build import build_network


def test_initial_weights_have_the_mean_that_was_asked_for():
    """U(mean ± 1) / √fan_in; everything else is what it is without."""
    plain = build_network(load_config(["task=yinyang"]))
    moved = build_network(load_config(["task=yinyang", "init_weight_mean=1"]))
    for one, other in zip(plain.spiking, moved.spiking, strict=True):
        assert torch.equal(one.weight + one.fan_in**-0.5, other.weight)
        assert torch.equal(one.bias, other.bias)
        assert (other.weight >= 0).all()
