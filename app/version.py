"""Which code made a run."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from . import __version__


@cache
def code_version() -> str:
    """The release, and from a checkout the git commit: "0.1.0+g1a2b3c4d5e6f", with ".dirty" behind if changed.

    It is what it was when a process asked first: the code that is imported stays the same.
    """
    folder = Path(__file__).resolve().parent
    if not (folder.parent / ".git").exists():  # installed, perhaps below a checkout of something else
        return __version__
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=.dirty", "--exclude=*", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{commit}"
