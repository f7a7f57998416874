"""A surrogate derivative of one's own: a Gaussian around the threshold.

python train.py plugins=[examples/my_surrogate.py] learning.surrogate=gaussian learning.surrogate_sigma=0.3
"""

from dataclasses import dataclass
from typing import Any

from app.equations import exp
from app.neuron.surrogate import SURROGATES, Surrogate
from app.settings import setting


@SURROGATES.register("gaussian")
@dataclass(frozen=True)
class Gaussian(Surrogate):
    """σ(v) = exp(−(v − θ)² / 2 s²)."""

    sigma: float = setting(0.3, "width of the Gaussian", key="surrogate_sigma", gt=0.001)

    @staticmethod
    def derivative(potential: Any, theta: float, sigma: float) -> Any:
        """The equation above, of the quantities in app.neuron.surrogate.QUANTITIES and the settings."""
        distance = (potential - theta) * (1.0 / sigma)
        return exp(distance * distance * -0.5)
