"""A neuron of one's own: by its time constants in milliseconds, as a device or an experiment gives them.

python train.py plugins=[examples/my_neuron.py] neuron.model=time_constants neuron.membrane_ms=20 neuron.synapse_ms=5
"""

import math
from dataclasses import dataclass

from app.neuron.lif import Neuron, Reset
from app.neuron.models import NEURONS, NeuronModel
from app.settings import setting


@NEURONS.register("time_constants")
@dataclass(frozen=True)
class TimeConstants(NeuronModel):
    """α_V = exp(−Δt / τ_m), α_I = exp(−Δt / τ_s), and betas with which one spike through weight 1 just reaches θ."""

    membrane_ms: float = setting(20.0, "time constant of the membrane potential", gt=0)
    synapse_ms: float = setting(5.0, "time constant of the synaptic current", gt=0)
    step_ms: float = setting(1.0, "how long a time step is", gt=0)

    def neuron(self, time_steps: int, threshold: float, max_spikes: int | None, reset: Reset) -> Neuron:
        """The constants of the equations."""
        alpha_v, alpha_i = (math.exp(-self.step_ms / tau_ms) for tau_ms in (self.membrane_ms, self.synapse_ms))
        return Neuron.auto(alpha_v, alpha_i, time_steps, threshold, max_spikes, reset)
