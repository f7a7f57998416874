"""antlr-snn: train spiking neural networks with activation-, timing-based and unified (ANTLR) learning rules."""

__version__ = "0.1.0"
