"""Real processes that start at once, forked from one that has imported what they need, as a sweep starts its runs."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from app.sweep.forks import Forked, Forks

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""What Lightning looks at on import, to know whether it is the first process of a run."""
READ_ON_IMPORT = ("HOME", "LANG", "LC_", "MKL_", "MPL", "NUMBA_", "OMP_", "PYTHON", "TRITON_", "XDG_")
"""How variables begin that other libraries read when they are imported."""
OURS = dict(os.environ)


def forked(line: Sequence[str], log: Path, environment: Mapping[str, str]) -> Forked:
    """Start Python, ``[python, script or -m module, arguments …]``, in this process's folder and a group of its own.

    Each set of values of variables that are read on import has a forking process, which has this process's others.
    """
    early = frozenset((name, value) for name, value in environment.items() if _is_early(name))
    return _forks(early).start(line, log, environment, os.getcwd())


def _is_early(name: str) -> bool:
    return name in RANKS or name.startswith(READ_ON_IMPORT)


@cache
def _forks(early: frozenset[tuple[str, str]]) -> Forks:
    forks = Forks({name: value for name, value in OURS.items() if not _is_early(name)} | dict(early))
    atexit.register(forks.close)
    return forks
