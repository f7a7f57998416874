"""How bad input and stopped runs are answered: one sentence on stderr and an exit code, no traceback."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from . import leaving, output


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
    output.make_lasting()
    before = {signum: signal.signal(signum, _interrupt) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = _exit_code(main, sys.argv[1:])
        if (failure := output.failure()) and code == 0:
            _say(f"error: {failure}; all other work is done")
            code = 1
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if sys._getframe(1).f_globals["__name__"] == "__main__":
        leaving.ends_with(code)
    raise SystemExit(code)


def _exit_code(main: Callable[[list[str]], int | None], argv: list[str]) -> int:
    try:
        return main(_readable(argv)) or 0
    except (UserError, RunStopped) as error:
        _say(f"error: {error}")
        return 2 if isinstance(error, UserError) else 1
    except Interrupted as stop:
        _say(str(stop))
        return stop.exit_code
    except SystemExit as done:  # argparse, after its help
        return int(done.code or 0)
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            _say(OUT_OF_MEMORY)
        elif isinstance(error, OSError):
            what = error.strerror or str(error) or type(error).__name__
            where = f"{error.filename}: " if error.filename else ""
            _say(f"error: {where}{what}; mend that and give the command again")
        else:
            raise
        return 1


OUT_OF_MEMORY = (
    "error: there is not enough memory; a smaller network, data.batch_size (to train) or data.eval_batch_size (to "
    "validate and test) needs less"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch, on the CPU or another device, did not get the memory that it asked for."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in ("not enough memory", "allocate memory", "out of memory"))
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _readable(argv: list[str]) -> list[str]:
    """The arguments, if the terminal's encoding could read them."""
    for argument in argv:
        if any(0xD800 <= ord(char) < 0xE000 for char in argument):
            encoding = sys.getfilesystemencoding()
            raise UserError(f"argument {argument!a} is no text in {encoding}; mend it, or set PYTHONUTF8=1")
    return argv


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def _say(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
