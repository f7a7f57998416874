"""Checkpoint files: written atomically, verified when read, and read without ever running code from the file."""

from __future__ import annotations

import errno
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from .errors import RunStopped, UserError
from .files import PARTIAL, replacing

CHECKPOINTS = "checkpoints"
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
KEYS = {"config": dict, "state_dict": dict, "epoch": int, "global_step": int}
RESUME_KEYS = {"loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list}
"""What a checkpoint holds, and what it takes to go on from it, with their types."""
ADAM = {"step", "exp_avg", "exp_avg_sq"}
MOMENTS = {"adam": ADAM, "adamw": ADAM, "sgd": {"momentum_buffer"}}
"""What each optimiser remembers of a weight."""


def read_checkpoint(path: Path, to_resume: bool = False) -> dict[str, Any]:
    """The content of a checkpoint file.

    Args:
        path: the file.
        to_resume: whether training is to go on from it, which takes more than the weights.

    Raises:
        UserError: the file is missing, damaged or foreign.
    """
    if not path.is_file():
        remedy = "give a .ckpt file, or ckpt=last with out=<the run's folder>"
        raise UserError(f"ckpt={path}: there is no such checkpoint; {remedy}")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise UserError(f"ckpt={path}: the file may not be read; change its permissions") from None
    except Exception:  # damaged bytes raise anything on their way through zipfile, zlib, pickle and torch
        raise UserError(f"ckpt={path}: the file is damaged or no checkpoint; use another one") from None
    if foreign := _unlike(content, KEYS):
        raise UserError(f"ckpt={path}: not a checkpoint of this project, {foreign}; use another one")
    _check_weights(path, content["state_dict"])
    if to_resume:
        if foreign := _unlike(content, RESUME_KEYS):
            raise UserError(f"ckpt={path}: it can be evaluated but not trained on, {foreign}; use another")
        _check_optimisers(path, content)
    return content


def _unlike(content: Any, types: dict[str, type]) -> str | None:
    """The first key that is missing or holds another type; None when there is none."""
    for key, kind in types.items():
        if not isinstance(content, dict) or key not in content:
            return f"it has no {key!r}"
        value = content[key]
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0)):
            return f"its {key!r} is no {'count' if kind is int else kind.__name__}"
    return None


def _check_weights(path: Path, weights: dict[str, Any]) -> None:
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise UserError(f"ckpt={path}: not a checkpoint of this project, {name!r} is no tensor; use another one")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UserError(f"ckpt={path}: {name} claims more numbers than the file holds; use another one")
        if value.is_floating_point() and not math.isfinite(value.sum(dtype=torch.float64)):
            raise UserError(f"ckpt={path}: {name} holds numbers that are not finite; use an earlier checkpoint")


def _check_optimisers(path: Path, content: dict[str, Any]) -> None:
    """Refuse moments of another shape than their weights: the fused optimisers would write past their end."""
    weights = list(content["state_dict"].values())
    try:
        needed = MOMENTS[content["config"]["optim"]["name"]]
        for optimiser in content["optimizer_states"]:
            for index, moments in optimiser["state"].items():
                shapes = {name: () if name == "step" else tuple(weights[index].shape) for name in needed}
                if {name: tuple(moment.shape) for name, moment in moments.items()} != shapes:
                    raise ValueError(index)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError):
        raise UserError(f"ckpt={path}: its optimiser's state does not fit its weights; use another one") from None


def _check_sums(path: Path) -> None:
    """Compare the CRC-32 of every part of the file, which torch.load does not; refuse what unpacks to more than it."""
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed, or its parts overlap")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(damaged)


def newest_intact(folder: Path) -> tuple[Path, list[Path]]:
    """The checkpoint with the most steps among the intact ones of a folder, and those that are damaged.

    Raises:
        UserError: none is intact.
    """
    steps: dict[Path, int] = {}
    damaged = []
    for path in (folder / name for name in (LAST, PREVIOUS, BEST)):
        if path.is_file():
            try:
                steps[path] = int(read_checkpoint(path, to_resume=True)["global_step"])
            except UserError:
                damaged.append(path)
    if not steps:
        names = ", ".join(map(str, damaged))
        raise UserError(f"ckpt=last: no checkpoint is intact ({names}); leave ckpt= out and choose another out=")
    return max(steps, key=lambda path: steps[path]), damaged


def keep_previous(folder: Path) -> None:
    """Give the last checkpoint a second name, so that it outlives its replacement; there is a last one all the time."""
    if (folder / LAST).exists():
        partial = folder / f".{PREVIOUS}{PARTIAL}"
        partial.unlink(missing_ok=True)
        try:
            os.link(folder / LAST, partial)
        except OSError as error:  # file systems without hard links
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            (folder / LAST).replace(partial)
        partial.replace(folder / PREVIOUS)


class AtomicCheckpoints(CheckpointIO):
    """How Lightning writes and reads checkpoint files here."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file; the old one stays until the new one is safe on the disk.

        Raises:
            RunStopped: it cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name == LAST:
                keep_previous(path.parent)
            with replacing(path, "wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            raise RunStopped(not_written(path, error)) from None

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a verified file onto the CPU, never running code from it."""
        content = read_checkpoint(Path(path))
        for former in [key for key in content if str(key).endswith("DataModule")]:  # each task had one of its own
            content["EventDataModule"] = content.pop(former)
        return content

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
