"""Losses: ordinary differentiable functions of the two channels ``spikes`` and ``times`` of the output layer.

One file each; :data:`LOSSES` knows them by name.
"""

from ..registry import import_all
from .loss import LOSSES, Loss

__all__ = ["LOSSES", "Loss"]

import_all(__name__)
