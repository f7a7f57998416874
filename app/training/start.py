"""From command-line arguments to a run that may begin: configuration, folder, checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L

from ..config import Config, from_dict, load_config, parse_arguments, to_yaml
from ..errors import UserError
from ..files import replacing
from ..notice import warn
from ..resume.checkpoint import newest_intact, read_checkpoint
from ..run_files import CHECKPOINTS, CONFIG, SUMMARY
from .changes import check_changes
from .folder import (
    Taken,
    folder_again,
    has_checkpoints,
    latest_run,
    new_folder,
    refuse_run,
    remove_partial_files,
)
from .processes import NobodyCame, have_one_parent

CLAIMED = "ANTLR_SNN_OUT"
"""Tells the processes that Lightning starts for DDP which folder the first one took."""


@dataclass(frozen=True)
class Start:
    """A run that may begin, as far as its settings and its checkpoint say.

    Args:
        config: the resolved configuration.
        out: the run's folder; that of a new run may still get another name, see :meth:`taken`.
        checkpoint: the file to go on from, None for a new run.
        step: its global step.
        metrics: what it knows of the table in the run's folder; None for nothing.
        named: whether the user chose the name of the folder.
        again: whether the run goes on in its own folder.
        damaged: checkpoints there that are to be set aside.
    """

    config: Config
    out: Path
    checkpoint: Path | None = None
    step: int | None = None
    metrics: dict[str, Any] | None = None
    named: bool = True
    again: bool = False
    damaged: tuple[Path, ...] = ()
    stamp: tuple[int, int] | None = None
    """Tells whether the checkpoint has been replaced since it was read."""

    def refuse_taken(self, trainer: L.Trainer) -> None:
        """Refuse a named folder that holds another run, before anything takes time."""
        if trainer.is_global_zero and not self.again and self._is_named(trainer):
            refuse_run(self.out)

    @contextmanager
    def taken(self, trainer: L.Trainer, origin: Mapping[str, str]) -> Iterator[Start]:
        """Take the run's folder, and hold it for this run alone until the block ends.

        Only the first process takes it; the others go where it went. A new run that is refused in the block leaves
        nothing behind.

        Args:
            trainer: knows which process this is.
            origin: what made the run, written on top of its ``config.yaml``: ``code``, ``data`` and so on.

        Raises:
            UserError: the folder holds or belongs to another run, or cannot be written.
        """
        if not trainer.is_global_zero:
            told = os.environ.get(CLAIMED) if have_one_parent(trainer) and not self.again else None
            yield self._in(Path(told)) if told else self
            return
        folder = folder_again(self.out) if self.again else new_folder(self.out, self._is_named(trainer))
        unused = False
        try:
            if self.stamp != _stamp(self.checkpoint):
                raise UserError(f"ckpt={self.checkpoint} has just changed: its run went on; give the command again")
            yield self._open(folder, origin)
        except (UserError, NobodyCame):
            unused = not self.again
            raise
        finally:
            os.environ.pop(CLAIMED, None)
            folder.give_back(unused)

    def _is_named(self, trainer: L.Trainer) -> bool:
        return self.named or not have_one_parent(trainer)  # processes that nobody can tell of another name

    def _in(self, out: Path) -> Start:
        self.config.out = str(out)
        return replace(self, out=out)

    def _open(self, folder: Taken, origin: Mapping[str, str]) -> Start:
        os.environ[CLAIMED] = str(folder.path)
        start = self._in(folder.path)
        for damaged in self.damaged:
            warn(f"{damaged} is damaged and was set aside; going on from {self.checkpoint}")
            damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
        remove_partial_files(start.out)
        with replacing(start.out / CONFIG) as file:
            file.write("".join(f"# {what} {value}\n" for what, value in origin.items()) + to_yaml(start.config))
        (start.out / SUMMARY).unlink(missing_ok=True)  # a run that goes on is not finished any more
        return start


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What differs when a file has been replaced."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path and path.exists() else None


def prepare(argv: Sequence[str]) -> Start:
    """Read the configuration and the checkpoint; nothing is written yet.

    ``ckpt=`` goes on with the settings that the checkpoint holds, changed by the other arguments; the run stays in the
    folder of the checkpoint unless ``out=`` names another. With ``config=`` the file's settings are used instead.

    Raises:
        UserError: whatever is wrong with the arguments, the folder or the checkpoint.
    """
    arguments = parse_arguments(argv)
    config = load_config(argv)
    if config.ckpt is None:
        start = Start(config, config.folder, named="out" in arguments)
    elif config.ckpt == "last":
        start = _resume_last(argv, config, latest_run(config.folder))
    else:
        start = _resume_from(argv, config, Path(config.ckpt), config.folder if "out" in arguments else None)
    start.config.out = str(start.out)
    return start


def _resume_from(argv: Sequence[str], config: Config, path: Path, out: Path | None) -> Start:
    """Go on from a file, or from the newest intact checkpoint of a run's folder."""
    damaged: list[Path] = []
    if path.is_dir():
        if not has_checkpoints(path):
            raise UserError(
                f"ckpt={path}: the folder holds no run with a checkpoint; give a run's folder or a .ckpt file"
            )
        path, damaged = newest_intact(path / CHECKPOINTS)
    home = _run_of(path)
    again = home is not None and (out is None or out.resolve() == home.resolve())
    return _resume(argv, config, path, home if again else out, again, damaged if again else ())


def _run_of(path: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to, relative where it can be; None where there is none."""
    place = Path(os.path.realpath(path)).parent  # also of a link that leads nowhere
    if place.name != CHECKPOINTS:
        return None
    folder = place.parent
    return Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder


def _resume_last(argv: Sequence[str], config: Config, out: Path) -> Start:
    """Go on from the newest intact checkpoint of a run; without any yet, from its beginning."""
    if not has_checkpoints(out):
        warn(f"{out} has no checkpoint yet: starting from the beginning")
        others = [argument for argument in argv if argument.removeprefix("--").split("=")[0] not in ("ckpt", "config")]
        config = load_config([f"config={out / CONFIG}", *others])
        if config.ckpt:
            return _resume(others, config, Path(config.ckpt), out, True)
        return Start(config, out, again=True)
    path, damaged = newest_intact(out / CHECKPOINTS)
    return _resume(argv, config, path, out, True, damaged)


def _resume(
    argv: Sequence[str], config: Config, path: Path, out: Path | None, again: bool, damaged: Sequence[Path] = ()
) -> Start:
    stamp = _stamp(path)
    content = read_checkpoint(path, to_resume=True)
    if out is None:
        raise UserError(f"ckpt={path} lies in no run's folder; name the folder of the run that goes on with out=")
    if "config" not in parse_arguments(argv):
        config = from_dict(content["config"], argv)
    stored = from_dict(content["config"])
    check_changes(stored, config, path)
    _check_length(content, config, path)
    config.ckpt = str(path)
    own_folder = Path(os.path.realpath(path)).parent.parent == out.resolve()  # its metrics.csv is the checkpoint's
    metrics = content.get("metrics") if own_folder else None
    step = int(content["global_step"])
    return Start(config, out, path, step, metrics, again=again, damaged=tuple(damaged), stamp=stamp)


def _epochs(content: dict[str, Any]) -> int:
    """Epochs that a checkpoint has behind it; ``epoch`` alone is that of the last step."""
    try:
        return int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError, ValueError):  # foreign, which is refused when it is loaded
        epoch: int = content["epoch"]
        return epoch


def _check_length(content: dict[str, Any], config: Config, path: Path) -> None:
    trainer = config.trainer
    for key, limit, done, what in (
        ("max_epochs", trainer.max_epochs, _epochs(content), "epochs"),
        ("max_steps", trainer.max_steps, content["global_step"], "steps"),
    ):
        if 0 <= limit < done:
            raise UserError(
                f"trainer.{key}={limit} is less than the {done} {what} that {path} has behind it; "
                f"use trainer.{key}={done + 1} or more"
            )
