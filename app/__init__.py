"""antlr-snn: train spiking neural networks with activation-, timing-based and unified (ANTLR) learning rules."""

import os

__version__ = "0.1.0"

# PyTorch's OpenMP threads spin while they wait. Beside any other busy process that makes the steps here, of a few
# milliseconds, several times slower; asleep they cost nothing. Read when torch is imported; your own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
