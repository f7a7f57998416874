"""The folder of a run: nothing in it is ever overwritten by another run."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import PARTIAL
from ..lock import Busy, Lock
from ..resume.checkpoint import BEST, LAST, PREVIOUS
from ..run_files import CHECKPOINTS, CONFIG


@dataclass(frozen=True)
class Taken:
    """A folder that no other run can have while this one lasts.

    Args:
        path: the folder.
        lock: held until :meth:`give_back`.
        made: what did not exist before, the folder itself first.
    """

    path: Path
    lock: Lock
    made: list[Path]

    def give_back(self, unused: bool) -> None:
        """Let others have it; a new run that was refused after all (``unused``) leaves nothing behind."""
        unused = unused and not (self.path / CHECKPOINTS).exists()
        if unused and self.path in self.made:
            for entry in self.path.iterdir():
                if entry != self.lock.path:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.lock.release()
        for path in self.made if unused else ():
            with suppress(OSError):  # another run has moved in
                path.rmdir()


def new_folder(out: Path, named: bool) -> Taken:
    """Take the folder of a new run; a name that was not chosen by the user gets -2, -3, … when another run has it.

    Args:
        out: the folder.
        named: whether the user chose it.

    Raises:
        UserError: it already holds a run, or cannot be written.
    """
    path, count = out, 1
    while True:
        if named:
            refuse_run(path)
        if not holds_run(path):
            try:
                taken = _take(path)
            except Busy as holder:
                if named:
                    raise UserError(
                        f"out={path} has just been taken by {holder}, which runs there; choose another out="
                    ) from None
            else:
                if not holds_run(path):
                    return taken
                taken.give_back(unused=False)  # another run came and went between the look and the lock
                continue
        count += 1
        path = out.with_name(f"{out.name}-{count}")


def folder_again(path: Path) -> Taken:
    """Take the folder of a run to go on with it.

    Raises:
        UserError: the run is still at work there, or the folder cannot be written.
    """
    try:
        return _take(path)
    except Busy as holder:
        raise UserError(
            f"out={path}: its run is still at work there ({holder}); wait for it or stop it, then go on with ckpt=last"
        ) from None


def refuse_run(path: Path) -> None:
    """Raise a UserError if a folder that the user named for a new run holds one."""
    if holds_run(path):
        raise UserError(f"out={path} already holds a run; add ckpt=last to go on with it, or choose another out=")


def _take(path: Path) -> Taken:
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        return Taken(path, Lock(path), made)
    except OSError as error:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise UserError(f"out={path} cannot be written ({error.strerror}); choose another out=") from None


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


def latest_run(out: Path) -> Path:
    """The newest of ``out``, ``out-2``, ``out-3``, … that holds a run; one with checkpoints goes before one without.

    Raises:
        UserError: there is none.
    """
    candidates = [out, *out.parent.glob(f"{out.name}-[0-9]*")]
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
