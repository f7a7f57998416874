"""Credit assignment: from the errors of spikes and spike times to the error of the membrane potential."""

from ..registry import import_all
from .activation import Activation
from .antlr import Antlr
from .bptc import LatencyOnce
from .eventprop import EventProp
from .hm2bp import HybridMacroMicro
from .lee import Lee
from .rule import RULES, Rule
from .s4nn import S4NN
from .timing import Timing
from .tssl_bp import TSSLBP

activation, timing, antlr, eventprop = Activation, Timing, Antlr, EventProp
tssl_bp, bptc, s4nn, lee, hm2bp = TSSLBP, LatencyOnce, S4NN, Lee, HybridMacroMicro

__all__ = [
    "RULES",
    "S4NN",
    "TSSLBP",
    "Activation",
    "Antlr",
    "EventProp",
    "HybridMacroMicro",
    "LatencyOnce",
    "Lee",
    "Rule",
    "Timing",
    "activation",
    "antlr",
    "bptc",
    "eventprop",
    "hm2bp",
    "lee",
    "s4nn",
    "timing",
    "tssl_bp",
]

import_all(__name__)
