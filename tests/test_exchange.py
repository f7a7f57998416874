"""NIR files of networks that have learned constants."""

import numpy as np
import pytest

from app.exchange import to_nir
from app.network import Network
from app.neuron.lif import Neuron
from app.rules import antlr

pytest.importorskip("nir")


@pytest.mark.parametrize("per", ["layer", "neuron"])
def test_learned_constants_are_written_neuron_by_neuron(per):
    neuron = Neuron(0.9, 0.8, 0.5, reset="potential")
    learn = ["alpha_v", "alpha_i", "threshold"]
    network = Network(["6", "fc5", "fc4"], neuron, antlr(), 0.3, learn=learn, learn_per=per)
    network.spiking[1].learned.set(alpha_v=0.95, alpha_i=0.5, threshold=2.0)
    first, second = (to_nir(network, 1e-3).nodes[f"{k}_neurons"] for k in (0, 1))
    assert first.tau_mem == pytest.approx(np.full(5, 1e-3 / 0.1), rel=1e-5)
    assert second.tau_mem == pytest.approx(np.full(4, 1e-3 / 0.05), rel=1e-5)
    assert second.tau_syn == pytest.approx(np.full(4, 1e-3 / 0.5), rel=1e-5)
    assert second.v_threshold == pytest.approx(np.full(4, 2.0), rel=1e-6)
    assert second.r * second.w_in == pytest.approx(np.full(4, 0.5 / 0.05 / 0.5), rel=1e-5)
    assert second.v_leak == pytest.approx(np.full(4, 0.3 / 0.05), rel=1e-5)
