"""Remarks to the user that are no errors: one line on stderr, from the first process only."""

from __future__ import annotations

import sys

from lightning.fabric.utilities.rank_zero import rank_zero_only


@rank_zero_only
def warn(text: str) -> None:
    """Print a warning."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr, flush=True)
