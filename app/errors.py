"""How bad input is answered: one sentence on stderr, exit code 2, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(ValueError):
    """Input that the user can correct: the message names the key or the file and the remedy."""


def exit_with(error: UserError) -> NoReturn:
    """Print the error as one line on stderr and leave with exit code 2."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(2)


def run_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a command's ``main(argv)`` and turn a :class:`UserError` into its one sentence and exit code 2."""
    try:
        raise SystemExit(main(sys.argv[1:]) or 0)
    except UserError as error:
        exit_with(error)
