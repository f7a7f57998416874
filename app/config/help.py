"""The texts of ``--help``, the keys that one needs first, and ``--help-all``: every setting with type and range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from .components import SLOTS
from .schema import Key, keys, sections

FIRST = (
    "config",
    "task",
    "rule",
    "loss",
    "network",
    "optim.lr",
    "trainer.max_epochs",
    "data.root",
    "seed",
    "out",
)
"""The keys that ``--help`` shows."""
HELP_ALL = "--help-all"
SHORT_USAGE = """\
usage: python train.py [config=NAME_OR_PATH] [key=value ...]

"""
EXAMPLES = """
examples:
  python train.py                                    ANTLR on the digits
  python train.py task=mnist rule=timing seed=1      configs/mnist_timing.yaml with another seed
  python train.py ckpt=runs/digits-antlr-latency-s0  go on after an interruption

--help-all lists all keys, --print-config shows those of this run and stops
"""
USAGE = """\
usage: python train.py [config=NAME_OR_PATH] [key=value ...] [--print-config] [--help] [--help-all]

Settings come from the defaults below, then from a YAML file, then from the command line; the last one wins.
Without config=, the file is configs/<task>_<rule>.yaml if there is one. A file can build on another one in the same
folder: "_base_: other". Lists are written key=[a,b], "nothing" is null, and --key=value means the same as key=value.
WANDB_DISABLED=true or WANDB_MODE=disabled, offline or online in the environment sets tracking.mode, whatever a file
says; an explicit tracking.mode= on the command line wins over both.

examples:
  python train.py                                    ANTLR on the digits
  python train.py task=mnist rule=timing seed=1      configs/mnist_timing.yaml with another seed
  python train.py config=nmnist_antlr trainer.max_epochs=1 data.batch_size=32
  python train.py rule=activation --print-config     show all settings of this run and stop
"""
WIDTHS = (33, 25, 14, 46)
"""Characters of the columns key, type, default, meaning; 120 with the margin of 2."""
SHORT_WIDTHS = (21, 9, 70)
"""Characters of the columns key, default, meaning; 100 with the margin."""


def help_text() -> str:
    """What ``--help-all`` prints: the usage and a table of every key, at most 120 characters wide."""
    lines = [USAGE, *_row("key", "type", "default", "meaning")]
    abouts = {"": "The run", **sections()}
    for section, about in abouts.items():
        lines += ["", f"{section + ': ' if section else ''}{about.rstrip('.')}"]
        its = [key for key in keys().values() if key.name.rpartition(".")[0] == section]
        for owners in dict.fromkeys(key.owners for key in its):
            lines += _heading(owners)
            for key in its:
                if key.owners == owners:
                    lines += _row(key.name, key.type, value_text(key.default), _meaning(key))
    return "\n".join(lines) + "\n"


def short_help() -> str:
    """What ``--help`` prints: the keys that one needs first, on one screen of 100 columns."""
    rows: list[str] = []
    for name in FIRST:
        key = keys()[name]
        is_choice = key.name in SLOTS
        meaning = f"{key.meaning}: {', '.join(SLOTS[name].names)}" if is_choice else key.meaning
        rows += _row(f"{name}=", value_text(key.default), meaning, widths=SHORT_WIDTHS)
    return SHORT_USAGE + "\n".join(rows) + "\n" + EXAMPLES


def command_help(about: str | None, argv: Sequence[str]) -> str:
    """What a command that takes settings prints for ``--help`` and ``--help-all``.

    Args:
        about: its own text.
        argv: its arguments.
    """
    return f"{about}\n{help_text() if HELP_ALL in argv else f'{HELP_ALL} lists the settings.'}"


def _heading(owners: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """The components whose settings follow: ``task=digits, mnist``; nothing for settings of every run."""
    by_slot: dict[str, list[str]] = {}
    for slot, name in owners:
        by_slot.setdefault(slot, []).append(name)
    if by_slot:
        yield "  with " + " or ".join(f"{slot}={', '.join(names)}" for slot, names in by_slot.items())


def value_text(value: Any) -> str:
    """A value as one would write it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "[" + ",".join(value_text(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(key: Key) -> str:
    return f"{key.meaning} ({key.signs})" if key.signs else key.meaning


def _row(*cells: str, widths: Sequence[int] = WIDTHS) -> Iterator[str]:
    wrapped = [wrap(cell, width - 2, break_on_hyphens=False) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=""):
        yield ("  " + "".join(part.ljust(width) for part, width in zip(parts, widths, strict=True))).rstrip()
