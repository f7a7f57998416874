"""Weights & Biases: the only file that imports wandb. A run is stored on disk by default and needs no server."""

from __future__ import annotations

import os
import secrets
import warnings
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only, rank_zero_warn
from lightning.pytorch.loggers import WandbLogger

from app.config import Config
from app.version import code_version

ID_FILE = "wandb_id"
FLUSH_SECONDS = 1.0
"""A killed run loses at most so much of its log (wandb's own default is 15 s)."""


def run_logger(config: Config, settings: dict[str, Any], out: Path) -> WandbLogger | None:
    """The W&B logger of a run, or None when tracking is disabled or cannot start: tracking never stops training.

    Task, rule, loss and seed are in the W&B config, group and tags, so that methods can be compared. No console output,
    environment, machine description or file path is stored.

    Args:
        config: the run's configuration.
        settings: the same as plain containers.
        out: the run's folder; the id in ``out/wandb_id`` makes a resumed run go on as the same W&B run.
    """
    if config.tracking.mode == "disabled":
        return None
    mode = config.tracking.mode
    if mode == "online" and not _logged_in():
        rank_zero_warn("W&B: not logged in, the run is stored offline; use 'wandb login' before or 'wandb sync' later")
        mode = "offline"
    for attempt in (mode, "offline"):
        logger = _logger(config, settings, out, attempt)
        try:
            _ = logger.experiment
            return logger
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            rank_zero_warn(f"W&B cannot start {attempt} ({reason}); metrics.csv is complete without it")
    return None


def _logger(config: Config, settings: dict[str, Any], out: Path, mode: str) -> WandbLogger:
    import wandb

    os.environ["WANDB_DATA_DIR"] = str(out / "wandb" / "data")  # artifacts stay in the run's folder
    (out / "wandb" / "data").mkdir(parents=True, exist_ok=True)
    shown = {key: value for key, value in settings.items() if key not in ("out", "ckpt", "tracking", "config")}
    shown["data"] = {key: value for key, value in settings["data"].items() if key not in ("root", "cache")}
    logger = WandbLogger(
        mode=mode,
        save_dir=out,
        id=_run_id(out),
        name=config.tracking.name,
        project=config.tracking.project,
        entity=config.tracking.entity,
        group=config.tracking.group,
        tags=[config.task, config.rule, *config.tracking.tags],
        notes=config.tracking.notes,
        config={**shown, "code_version": code_version()},
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
        ),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning 2.6 passes what wandb 0.31 warns of
    return logger


def finish(logger: WandbLogger | None, summary: dict[str, Any], failed: bool = False) -> None:
    """Store the final numbers and close the run; a fault of W&B is a warning."""
    if logger is None or rank_zero_only.rank != 0:
        return
    try:
        logger.experiment.summary.update(summary)
        logger.experiment.finish(exit_code=int(failed))
    except Exception as error:
        warnings.warn(f"W&B could not close the run ({type(error).__name__}: {error})", stacklevel=1)


def _run_id(out: Path) -> str:
    """The run's W&B id: made once, then read, so that a resumed run goes on under the same id."""
    path = out / ID_FILE
    if not path.exists() and rank_zero_only.rank == 0:
        path.write_text(secrets.token_hex(4))
    return path.read_text().strip() if path.exists() else secrets.token_hex(4)


def _logged_in() -> bool:
    """Whether wandb knows a key; asks nobody."""
    import wandb

    return bool(wandb.api.api_key)
