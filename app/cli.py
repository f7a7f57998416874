"""The command ``antlr-snn``: ``antlr-snn train task=mnist``, ``antlr-snn report runs`` and so on.

``python train.py`` and ``python -m app.<command>`` are the same commands from a checkout.
"""

from __future__ import annotations

import sys
from importlib import import_module

from . import __version__
from .errors import UserError, run_command

COMMANDS = {
    "train": ("train", "train a network"),
    "evaluate": ("evaluate", "test a checkpoint on its task's test split"),
    "predict": ("predict", "ask a trained network: class, confidence, time, spikes"),
    "plot": ("plot", "pictures: rasters, membrane traces, PSPs, weights, confusion, curves, accuracy against spikes"),
    "costs": ("costs", "what its answers cost: synaptic operations, sparsity, footprint, energy"),
    "export": ("export", "write a trained network as a NIR file for other frameworks"),
    "sweep": ("sweep.__main__", "search a grid with repeated trials"),
    "report": ("report.__main__", "compare stored runs on one page"),
    "landscape": ("landscape.__main__", "loss on lines and planes; which rule's gradient describes it"),
    "verify": ("verify", "replay golden files through every engine"),
    "completion": ("completion", "print a script that completes this command in bash, zsh or fish"),
}
"""Module and purpose of each command; the module has ``main(argv)``."""


def usage() -> str:
    """What ``antlr-snn --help`` prints."""
    commands = "\n".join(f"  {name:11}{purpose}" for name, (_, purpose) in COMMANDS.items())
    more = "antlr-snn COMMAND --help explains one, --help-all lists the settings of a run, --version"
    return f"usage: antlr-snn COMMAND [arguments]\n\n{commands}\n\n{more}"


def main(argv: list[str]) -> int | None:
    """Run the command that ``argv`` begins with.

    Raises:
        UserError: there is no such command.
    """
    if not argv or argv[0] in ("--help", "-h"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--help-all":
        from .config import help_text

        print(f"{usage()}\n\n{help_text()}")
        return 0
    if argv[0] == "--version":
        print(f"antlr-snn {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        raise UserError(f"antlr-snn has no command {argv[0]!r}; choose {', '.join(COMMANDS)}")
    status: int | None = import_module(f".{COMMANDS[argv[0]][0]}", __package__).main(argv[1:])
    return status


def entry() -> None:
    """Where the installed command begins."""
    sys.argv[0] = "antlr-snn"
    run_command(main)


if __name__ == "__main__":
    entry()
