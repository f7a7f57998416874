"""How bad input and stopped runs are answered: one sentence on stderr and an exit code, no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(ValueError):
    """Input that the user can correct: the message names the key or the file and the remedy. Exit code 2."""


class RunStopped(RuntimeError):
    """A run that must not go on: the message says where, the likely cause and the remedy. Exit code 1."""


def run_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a command's ``main(argv)`` and leave with its exit code; errors for the user become one sentence."""
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
        raise SystemExit(code)
    except BrokenPipeError:  # the reader of a pipe, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except (UserError, RunStopped) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, UserError) else 1) from None
