"""Credit assignment: from the errors of spikes and spike times to the error of the membrane potential."""

from ..registry import import_all
from .activation import Activation
from .antlr import Antlr
from .eventprop import EventProp
from .rule import RULES, Rule
from .timing import Timing

activation, timing, antlr, eventprop = Activation, Timing, Antlr, EventProp

__all__ = ["RULES", "Activation", "Antlr", "EventProp", "Rule", "Timing", "activation", "antlr", "eventprop", "timing"]

import_all(__name__)
