"""What W&B's environment variables ask of a run; everything else in the environment is left to its owner."""

from __future__ import annotations

import os
import re

from ..errors import UserError

MODES = {"disabled": "disabled", "offline": "offline", "online": "online", "dryrun": "offline", "run": "online"}
"""Values of ``WANDB_MODE``, the last two from older times, and the ``tracking.mode`` that each means."""
NO = ("", "0", "false", "f", "no", "n", "off")


def tracking_mode() -> dict[str, str]:
    """``tracking.mode`` as ``WANDB_DISABLED`` and ``WANDB_MODE`` want it; empty if they say nothing.

    Raises:
        UserError: ``WANDB_MODE`` is something else.
    """
    if os.environ.get("WANDB_DISABLED", "").strip().lower() not in NO:
        return {"tracking.mode": "disabled"}
    mode = os.environ.get("WANDB_MODE", "").strip().lower()
    if mode and mode not in MODES:
        raise UserError(
            f"WANDB_MODE={mode!r} in the environment must be disabled, offline or online; change or unset it"
        )
    return {"tracking.mode": MODES[mode]} if mode else {}


def agent_run() -> str | None:
    """The id of the run if an agent of a W&B sweep has started this process."""
    run = os.environ.get("WANDB_RUN_ID", "") if os.environ.get("WANDB_SWEEP_ID") else ""
    return run if re.fullmatch(r"[\w-]{1,64}", run, re.ASCII) else None
