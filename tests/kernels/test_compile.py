"""How kernels are compiled."""

import subprocess
import sys

from app.kernels.compile import kernel

STEPS = """
import app, torch
from numba.core.runtime import rtsys
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import antlr

torch.manual_seed(0)
for spec in (["20", "fc30", "fc10"], ["1x6x6", "conv3c3", "mpool2", "flatten", "fc10"]):
    network = Network(spec, Neuron.auto(0.9, 0.9, 10), antlr(), 0.1, "event_driven")
    spikes = (torch.rand(10, 2, *network.input_shape) < 0.5).float()
    for _ in range(2):
        output = network(spikes)
        (output.spikes_TBN.sum() + output.times_TBN.sum()).backward()
del output, network
found = rtsys.get_allocation_stats()
print(found.alloc - found.free, found.mi_alloc - found.mi_free)
"""


def test_kernels_free_what_they_allocate(monkeypatch):
    """Those that count no references to arrays must not be given any to keep."""
    monkeypatch.setenv("NUMBA_NRT_STATS", "1")
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=300)
    assert run.stdout.split() == ["0", "0"]


def test_kernels_of_one_source_have_names_of_their_own():
    """By a number alone they had, which two processes may both have given; one that loaded both linked them together,
    and a rule ran in the memory that another rule needs."""

    def name(factor):
        @kernel(str(factor))
        def product(x):
            return factor * x

        assert product(2.0) == 2 * factor
        (compiled,) = product.overloads.values()
        return compiled.fndesc.qualname

    assert len({name(2), name(3)}) == 2
