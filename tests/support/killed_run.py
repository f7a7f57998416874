"""``train.py`` that is killed (SIGKILL) at a place: ``killed_run.py MODULE:NAME:CALL:WHEN[:WORD] [key=value …]``.

WHEN is ``before`` or ``after`` the call of that number, counted from 1 among those with WORD in their arguments. Only
the first process of a run is killed.
"""

import os
import signal
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]


def kill_at(place: str) -> None:
    """Wrap a function so that one of its calls is the last thing that this process does."""
    module, path, number, when, word = [*place.split(":"), ""][:5]
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, import_module(module))
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.extend([1] if word in repr(args) else [])
        hit = len(calls) == int(number) and word in repr(args) and os.environ.get("LOCAL_RANK", "0") == "0"
        if hit and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import train
    from app.errors import run_command

    kill_at(sys.argv[1])
    run_command(lambda argv: train.main(argv[1:]))
