"""How bad input and stopped runs are answered: one sentence on stderr and an exit code, no traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


class UserError(ValueError):
    """Input that the user can correct: the message names the key or the file and the remedy. Exit code 2."""


class RunStopped(RuntimeError):
    """A run that must not go on: the message says where, the likely cause and the remedy. Exit code 1."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Exit code 130 or 143, as shells have it. Not an Exception, so that no library swallows it.

    Args:
        signum: the signal.
        remark: what was saved and how to go on.
    """

    def __init__(self, signum: int, remark: str = "nothing was saved") -> None:
        super().__init__(f"stopped by {'Ctrl-C' if signum == signal.SIGINT else signal.Signals(signum).name}: {remark}")
        self.exit_code = 128 + signum


def run_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a command's ``main(argv)`` and leave with its exit code; errors for the user become one sentence."""
    before = {signum: signal.signal(signum, _interrupt) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
        raise SystemExit(code)
    except BrokenPipeError:  # the reader of a pipe, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except (UserError, RunStopped) as error:
        _say(f"error: {error}")
        raise SystemExit(2 if isinstance(error, UserError) else 1) from None
    except Interrupted as stop:
        _say(str(stop))
        raise SystemExit(stop.exit_code) from None
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        _say(f"error: {error.filename}: {error.strerror}; mend that and give the command again")
        raise SystemExit(1) from None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def _say(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
