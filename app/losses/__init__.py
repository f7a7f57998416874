"""Losses: ordinary differentiable functions of the two channels ``spikes`` and ``times`` of the output layer."""
