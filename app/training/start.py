"""From command-line arguments to a run that may begin: configuration, folder, checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..config import Config, from_dict, load_config, parse_arguments, to_yaml
from ..errors import UserError
from ..files import replacing
from ..notice import warn
from ..resume.checkpoint import CHECKPOINTS, newest_intact, read_checkpoint
from ..runs import SUMMARY
from .changes import check_changes
from .folder import CONFIG, choose_folder, has_checkpoints, latest_run, make_folder, remove_partial_files


@dataclass(frozen=True)
class Start:
    """A run that may begin.

    Args:
        config: the resolved configuration; ``config.out`` is the run's folder.
        out: the same folder.
        checkpoint: the file to go on from, None for a new run.
        step: its global step.
        metrics: what it knows of the table in the run's folder; None for nothing.
    """

    config: Config
    out: Path
    checkpoint: Path | None = None
    step: int | None = None
    metrics: dict[str, Any] | None = None

    def open_folder(self, origin: Mapping[str, str]) -> None:
        """Make the run's folder and write ``config.yaml``; a run that goes on is not finished any more.

        Args:
            origin: what made the run, written on top: ``code`` and ``data``.

        Raises:
            UserError: the folder cannot be written.
        """
        make_folder(self.out)
        remove_partial_files(self.out)
        with replacing(self.out / CONFIG) as file:
            file.write("".join(f"# {what} {value}\n" for what, value in origin.items()) + to_yaml(self.config))
        (self.out / SUMMARY).unlink(missing_ok=True)


def prepare(argv: Sequence[str]) -> Start:
    """Read the configuration and the checkpoint, and choose the run's folder; nothing is written yet.

    ``ckpt=`` goes on with the settings that the checkpoint holds, changed by the other arguments; the run stays in the
    folder of the checkpoint unless ``out=`` names another. With ``config=`` the file's settings are used instead.

    Raises:
        UserError: whatever is wrong with the arguments, the folder or the checkpoint.
    """
    arguments = parse_arguments(argv)
    config = load_config(argv)
    if config.ckpt is None:
        start = Start(config, choose_folder(config.out, named="out" in arguments))
    elif config.ckpt == "last":
        start = _resume_last(argv, config, latest_run(config.out))
    else:
        path = Path(config.ckpt)
        start = _resume(argv, config, path, Path(config.out) if "out" in arguments else _run_of(path))
    start.config.out = str(start.out)
    return start


def _run_of(path: Path) -> Path:
    """The folder of the run that wrote a checkpoint, relative where it can be."""
    folder = Path(os.path.realpath(path)).parent.parent
    return Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder


def _resume_last(argv: Sequence[str], config: Config, out: Path) -> Start:
    """Go on from the newest intact checkpoint of a run; without any yet, from its beginning."""
    if not has_checkpoints(out):
        warn(f"{out} has no checkpoint yet: starting from the beginning")
        others = [argument for argument in argv if argument.removeprefix("--").split("=")[0] not in ("ckpt", "config")]
        config = load_config([f"config={out / CONFIG}", *others])
        return _resume(others, config, Path(config.ckpt), out) if config.ckpt else Start(config, out)
    path, damaged = newest_intact(out / CHECKPOINTS)
    for file in damaged:
        warn(f"{file} is damaged and was set aside; going on from {path}")
        if rank_zero_only.rank == 0:
            file.replace(file.with_name(f"{file.name}.damaged"))
    return _resume(argv, config, path, out)


def _resume(argv: Sequence[str], config: Config, path: Path, out: Path) -> Start:
    content = read_checkpoint(path, to_resume=True)
    if "config" not in parse_arguments(argv):
        config = from_dict(content["config"], argv)
    stored = from_dict(content["config"])
    check_changes(stored, config, path)
    _check_epochs(content, config, path)
    config.ckpt = str(path)
    own_folder = path.resolve().parent.parent == out.resolve()  # its metrics.csv is the checkpoint's
    return Start(config, out, path, int(content["global_step"]), content.get("metrics") if own_folder else None)


def _check_epochs(content: dict[str, Any], config: Config, path: Path) -> None:
    trained, limit = content["epoch"], config.trainer.max_epochs
    if 0 <= limit < trained:
        raise UserError(
            f"trainer.max_epochs={limit} is less than the {trained} epochs that {path} has behind it; "
            f"use trainer.max_epochs={trained + 1} or more"
        )
