"""From command-line arguments to a run that may begin: configuration, folder, checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from app.checkpoint import read_checkpoint
from app.config import Config, from_dict, load_config, parse_arguments, to_yaml
from app.errors import UserError
from app.training.folder import CHECKPOINTS, claim_folder, latest_run, make_folder


@dataclass(frozen=True)
class Start:
    """A run that may begin.

    Args:
        config: the resolved configuration; ``config.out`` is the run's folder.
        out: the same folder.
        checkpoint: the file to go on from, None for a new run.
        step: its global step.
    """

    config: Config
    out: Path
    checkpoint: Path | None = None
    step: int | None = None


def prepare(argv: Sequence[str]) -> Start:
    """Read the configuration, take the run's folder and write ``config.yaml``.

    ``ckpt=`` goes on with the settings that the checkpoint holds, changed by the other arguments; the run stays in the
    folder of the checkpoint unless ``out=`` names another. With ``config=`` the file's settings are used instead.

    Raises:
        UserError: whatever is wrong with the arguments, the folder or the checkpoint.
    """
    arguments = parse_arguments(argv)
    config = load_config(argv)
    if config.ckpt is None:
        out = claim_folder(config.out, named="out" in arguments)
        start = Start(config, out)
    else:
        start = _resume(argv, config, named="out" in arguments)
    start.config.out = str(start.out)
    if rank_zero_only.rank == 0:
        (start.out / "config.yaml").write_text(to_yaml(start.config))
    return start


def _resume(argv: Sequence[str], config: Config, named: bool) -> Start:
    path = Path(config.ckpt)
    if config.ckpt == "last":
        path = latest_run(config.out) / CHECKPOINTS / "last.ckpt"
    content = read_checkpoint(path)
    if "config" not in parse_arguments(argv):
        config = from_dict(content["config"], argv)
    stored = from_dict(content["config"])
    for key in ("task", "network"):
        if getattr(config, key) != getattr(stored, key):
            raise UserError(
                f"{key}={getattr(config, key)} differs from the checkpoint {path}, which holds "
                f"{key}={getattr(stored, key)}; leave {key}= out to go on with it"
            )
    out = Path(config.out) if named else path.resolve().parent.parent
    make_folder(out)
    config.ckpt = str(path)
    return Start(config, out, path, int(content["global_step"]))
