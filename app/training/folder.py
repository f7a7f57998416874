"""The folder of a run: nothing in it is ever overwritten by another run."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from app.errors import UserError

CHECKPOINTS = "checkpoints"
CLAIMED = "ANTLR_SNN_OUT"
"""Tells the processes that Lightning starts for DDP which folder the first one took."""


def claim_folder(out: str, named: bool) -> Path:
    """Make the folder of a new run; a name that was not chosen by the user gets -2, -3, … when it is taken.

    Args:
        out: the folder.
        named: whether the user chose it.

    Raises:
        UserError: it already holds a run, or cannot be written.
    """
    if rank_zero_only.rank != 0:
        return Path(os.environ.get(CLAIMED, out))
    path = Path(out)
    if holds_run(path) and named:
        raise UserError(f"out={path} already holds a run; add ckpt=last to go on with it, or choose another out=")
    count = 2
    while holds_run(path):
        path, count = Path(f"{out}-{count}"), count + 1
    make_folder(path)
    os.environ[CLAIMED] = str(path)
    return path


def make_folder(path: Path) -> None:
    """Make a folder that can be written, or raise a UserError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"out={path} cannot be written ({error.strerror}); choose another out=") from None


def holds_run(path: Path) -> bool:
    """Whether a run was started in this folder."""
    return (path / "config.yaml").exists() or (path / CHECKPOINTS).exists()


def latest_run(out: str) -> Path:
    """The newest of ``out``, ``out-2``, ``out-3``, … that has a checkpoint to go on from.

    Raises:
        UserError: there is none.
    """
    candidates = [Path(out), *Path(out).parent.glob(f"{Path(out).name}-[0-9]*")]
    found = [path for path in candidates if (path / CHECKPOINTS / "last.ckpt").is_file()]
    if not found:
        raise UserError(f"ckpt=last: {out} holds no checkpoint to go on from; leave ckpt= out to start a new run there")
    return max(found, key=lambda path: (path / CHECKPOINTS / "last.ckpt").stat().st_mtime)
