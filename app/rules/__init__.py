"""Credit assignment: from the errors of spikes and spike times to the error of the membrane potential."""

from ..registry import import_all
from .activation import Activation
from .antlr import Antlr
from .rule import RULES, Rule
from .timing import Timing

activation, timing, antlr = Activation, Timing, Antlr

__all__ = ["RULES", "Activation", "Antlr", "Rule", "Timing", "activation", "antlr", "timing"]

import_all(__name__)
