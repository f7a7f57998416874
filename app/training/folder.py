"""The folder of a run: nothing in it is ever overwritten by another run."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..errors import UserError
from ..files import PARTIAL
from ..resume.checkpoint import BEST, CHECKPOINTS, LAST, PREVIOUS

CONFIG = "config.yaml"
CLAIMED = "ANTLR_SNN_OUT"
"""Tells the processes that Lightning starts for DDP which folder the first one took."""


def choose_folder(out: str, named: bool) -> Path:
    """The folder of a new run; a name that was not chosen by the user gets -2, -3, … when it is taken.

    Args:
        out: the folder.
        named: whether the user chose it.

    Raises:
        UserError: it already holds a run.
    """
    if rank_zero_only.rank != 0:
        return Path(os.environ.get(CLAIMED, out))
    path = Path(out)
    if holds_run(path) and named:
        raise UserError(f"out={path} already holds a run; add ckpt=last to go on with it, or choose another out=")
    count = 2
    while holds_run(path):
        path, count = Path(f"{out}-{count}"), count + 1
    os.environ[CLAIMED] = str(path)
    return path


def make_folder(path: Path) -> None:
    """Make a folder that can be written, or raise a UserError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"out={path} cannot be written ({error.strerror}); choose another out=") from None


def holds_run(path: Path) -> bool:
    """Whether a run was started in this folder."""
    return (path / CONFIG).exists() or (path / CHECKPOINTS).exists()


def latest_run(out: str) -> Path:
    """The newest of ``out``, ``out-2``, ``out-3``, … that holds a run; one with checkpoints goes before one without.

    Raises:
        UserError: there is none.
    """
    candidates = [Path(out), *Path(out).parent.glob(f"{Path(out).name}-[0-9]*")]
    found = [path for path in candidates if holds_run(path)]
    if not found:
        raise UserError(f"ckpt=last: {out} holds no checkpoint to go on from; leave ckpt= out to start a new run there")
    return max(found, key=lambda path: (has_checkpoints(path), _changed(path)))


def has_checkpoints(path: Path) -> bool:
    """Whether there is a checkpoint, intact or not, from which a run in this folder may go on."""
    return any((path / CHECKPOINTS / name).is_file() for name in (LAST, PREVIOUS, BEST))


def _changed(path: Path) -> float:
    files = (path / CONFIG, path / CHECKPOINTS / LAST, path / CHECKPOINTS / PREVIOUS)
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def remove_partial_files(path: Path) -> None:
    """Delete what a killed process had begun to write."""
    for folder in (path, path / CHECKPOINTS):
        for partial in folder.glob(f".*{PARTIAL}"):
            partial.unlink(missing_ok=True)
