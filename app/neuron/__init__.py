"""The physics: neuron parameters, post-synaptic potential kernels and surrogate derivatives, as pure functions."""
