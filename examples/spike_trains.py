"""Random spikes in, given spikes out: one loop of one's own for each rule. python -m examples.spike_trains [STEPS]"""

import sys

import torch

from app import Network, Neuron, activation, antlr, centre_bias, spike_train_loss, timing

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 500
generator = torch.Generator().manual_seed(0)
spikes_TBN = (torch.rand(100, 1, 100, generator=generator) < 0.05).float()
target_TBN = (torch.rand(100, 1, 10, generator=generator) < 0.02).float()
neuron = Neuron.auto(0.95, 0.95, time_steps=100)

for rule in (activation(), timing(), antlr()):
    torch.manual_seed(0)
    network = Network(["100", "fc100", "fc10"], neuron, rule, bias=centre_bias(neuron, 100))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = network(spikes_TBN)
        loss = spike_train_loss(output.spikes_TBN, output.times_TBN, target_TBN)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    hits = int((output.spikes_TBN * target_TBN).sum())
    print(f"{type(rule).__name__}: loss {loss:.3f}, {hits} of {int(target_TBN.sum())} target spikes hit at their step")
