"""Real processes that start at once, forked from one that has imported what they need, as a sweep starts its runs."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from app.sweep.forks import Forked, Forks

READ_ON_IMPORT = ("HOME", "LANG", "LC_", "MKL_", "MPL", "NUMBA_", "OMP_", "PYTHON", "TRITON_", "XDG_")
"""How variables begin that libraries read when they are imported: each value of them needs a forking process."""


def forked(line: Sequence[str], log: Path, environment: Mapping[str, str]) -> Forked:
    """Start Python, ``[python, script or -m module, arguments …]``, in this process's folder and a group of its own."""
    early = {name: value for name, value in environment.items() if name.startswith(READ_ON_IMPORT)}
    forks = _forks(frozenset({"PATH": os.environ.get("PATH", ""), **early}.items()))
    return forks.start(line, log, environment, os.getcwd())


@cache
def _forks(environment: frozenset[tuple[str, str]]) -> Forks:
    forks = Forks(dict(environment))
    atexit.register(forks.close)
    return forks
