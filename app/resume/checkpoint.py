"""Checkpoint files: written atomically, verified when read, and read without ever running code from the file."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from ..data.loader import raise_worker_failure
from ..errors import RunStopped, UserError
from ..files import PARTIAL, replacing, sync_folder
from ..run_files import CHECKPOINTS
from .check import tensor_trouble, unlike

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
FORMAT = 2
"""Of the files that are written. Those of format 1 have no number, and their best checkpoint was a file of its own."""
USABLE = {"config": {}, "state_dict": {}, "epoch": 0, "global_step": 0}
RESUMABLE: dict[str, Any] = {"loops": {}, "callbacks": {}, "optimizer_states": [], "lr_schedulers": []}
"""What every checkpoint holds, and what it takes besides to go on from it."""
RECORD = {"metrics": {"rows": 0, "crc": 0, "newest": {}}}
"""What one of the present format knows of ``metrics.csv``."""


def kept_name(epoch: int) -> str:
    """The name of the checkpoint that is kept after an epoch, the first of which is 1."""
    return f"epoch{epoch}.ckpt"


def read_checkpoint(path: Path, to_resume: bool = False, key: str = "ckpt") -> dict[str, Any]:
    """The content of a checkpoint file.

    Args:
        path: the file.
        to_resume: whether training is to go on from it, which takes more than the weights.
        key: the setting that names it, for messages.

    Raises:
        UserError: the file is missing, damaged or foreign.
    """
    if not _is_file(path):
        raise UserError(f"{key}={path}: there is no such checkpoint; give a .ckpt file or a run's folder")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        trouble = tensor_trouble(content)
    except PermissionError:
        raise UserError(f"{key}={path}: the file may not be read; change its permissions") from None
    except Exception:  # damaged bytes raise anything on their way through zipfile, zlib, pickle and torch
        raise UserError(f"{key}={path}: the file is damaged or no checkpoint; use another one") from None
    if (place := unlike(USABLE, content)) is not None:
        raise UserError(f"{key}={path}: not a checkpoint of this project{_at(place)}; use another one")
    if trouble:
        raise UserError(f"{key}={path}: {trouble}; use another one")
    needed = RESUMABLE | (RECORD if content.get("format", 1) != 1 else {})
    if to_resume and (place := unlike(needed, content)) is not None:
        raise UserError(f"{key}={path}: it can be evaluated but not trained on{_at(place)}; use another one")
    return _as_of_today(path, content, key)


def best_of(path: str | Path) -> Path:
    """The checkpoint that a path means: the file itself, or of a run's folder the best one, without any the last."""
    path = Path(path).expanduser()
    if not path.is_dir():
        return path
    best, last = (path / CHECKPOINTS / name for name in (BEST, LAST))
    return best if best.is_file() or not last.is_file() else last


def _at(place: str) -> str:
    return f", its {place!r} is missing or of another kind" if place else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long
        return False


def _as_of_today(path: Path, content: dict[str, Any], key: str) -> dict[str, Any]:
    """A checkpoint of an earlier format in the present one; one of a later format is refused."""
    written = content.get("format", 1)
    if written not in range(1, FORMAT + 1):
        raise UserError(f"{key}={path}: format {written} is of a later version of this project; update it")
    if written == 1:
        for former in [key for key in content if str(key).endswith("DataModule")]:  # each task had one of its own
            content["EventDataModule"] = content.pop(former)
        states = content.get("callbacks", {})
        for key in [key for key in states if str(key).startswith("BestCheckpoint{")]:
            state = states.pop(key)
            states["BestCheckpoint"] = {**state, "step": None} if isinstance(state, dict) else state
    return content


def _check_sums(path: Path) -> None:
    """Compare the CRC-32 of every part of the file, which torch.load does not; refuse what unpacks to more than it."""
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed, or its parts overlap")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(damaged)


def newest_intact(folder: Path) -> tuple[Path, list[Path]]:
    """The newest intact checkpoint of a folder, and the damaged ones that are newer.

    Raises:
        UserError: none is intact.
    """
    damaged: list[Path] = []
    for path in (folder / name for name in (LAST, PREVIOUS, BEST)):
        if path.is_file():
            try:
                read_checkpoint(path, to_resume=True)
                return path, damaged
            except UserError:
                damaged.append(path)
    names = ", ".join(map(str, damaged))
    raise UserError(f"ckpt=last: no checkpoint is intact ({names}); leave ckpt= out and choose another out=")


def give_second_name(path: Path, name: str) -> None:
    """Call a file by another name too, in place of the one that has it: a link, or a copy where there are no links."""
    partial = path.with_name(f".{name}{PARTIAL}")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        with path.open("rb") as old, replacing(path.with_name(name), "wb") as new:
            shutil.copyfileobj(old, new)
        return
    partial.replace(path.with_name(name))
    sync_folder(path.parent)


class AtomicCheckpoints(CheckpointIO):
    """How Lightning writes and reads checkpoint files here."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file; the old one stays until the new one is safe on the disk, and the last one as the previous.

        Raises:
            RunStopped: it cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name == LAST and path.exists():
                give_second_name(path, PREVIOUS)
            with replacing(path, "wb") as file:
                torch.save({**checkpoint, "format": FORMAT}, file)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError):
                raise_worker_failure(error)
            raise RunStopped(not_written(path, error)) from None

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a verified file onto the CPU, never running code from it."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file if it is there."""
        Path(path).unlink(missing_ok=True)


def not_written(path: Path, error: Exception) -> str:
    """The sentence for a file of the run that cannot be written."""
    reason = getattr(error, "strerror", None) or "the disk is full or has gone"
    return (
        f"{path} cannot be written ({reason}); the checkpoints before it are intact: make room or mend the folder, "
        "then go on with ckpt=last"
    )
