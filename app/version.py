"""Which code made a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from app import __version__


def code_version() -> str:
    """The release, and the git commit when the code runs from a checkout ("0.1.0+g1a2b3c4", with ".dirty" if changed)."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=.dirty", "--exclude=*", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{commit}"
