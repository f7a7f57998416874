"""Train a spiking network: ``python train.py [config=<name or path>] [key=value …]``; ``--help-all`` lists all keys.

The page itself is :mod:`app.train`; installed, the same is ``antlr-snn train``.
"""

from app.errors import run_command
from app.train import main

if __name__ == "__main__":
    run_command(main)
