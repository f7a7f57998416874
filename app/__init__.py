"""antlr-snn: train spiking neural networks with activation-, timing-based and unified (ANTLR) learning rules."""

from . import environment

__version__ = "0.1.0"

environment.prepare()
