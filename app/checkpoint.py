"""Reading checkpoints: never runs code from the file, and names a file that is no checkpoint of this project."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from app.errors import UserError

KEYS = ("config", "state_dict", "epoch", "global_step")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file.

    Raises:
        UserError: the file is missing, damaged or foreign.
    """
    if not path.is_file():
        remedy = "give a .ckpt file, or ckpt=last with out=<the run's folder>"
        raise UserError(f"ckpt={path}: there is no such checkpoint; {remedy}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
        raise UserError(f"ckpt={path}: the file is damaged or no checkpoint; use another one") from None
    missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"ckpt={path}: not a checkpoint of this project, it has no {missing[0]!r}; use another one")
    return content
