"""What differs between a run and the checkpoint that it goes on from."""

from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..config.schema import keys, value_of
from ..errors import UserError
from ..notice import warn

FIXED = ("task", "network", "init_from", "optim.name", "optim.lr", "optim.weight_decay", "optim.momentum")
"""Part of what the checkpoint holds: weights, and the optimiser's state with its settings."""
HARMLESS = ("config", "plugins", "out", "ckpt", "checkpoint_every_s", "data.root", "data.cache", "data.path",
            "data.num_workers", "data.eval_batch_size", "trainer.max_epochs", "trainer.max_steps",
            "trainer.log_every_n_steps", "trainer.num_sanity_val_steps", "trainer.enable_progress_bar",
            "trainer.profiler", "trainer.detect_anomaly", "trainer.limit_test_batches")  # fmt: skip
HARMLESS_GROUPS = ("tracking.", "probes.", "keep_after_epochs")


def check_changes(stored: Config, config: Config, path: Path) -> None:
    """Refuse settings with which a checkpoint cannot go on, and warn of those that make another run of it.

    Raises:
        UserError: names the key.
    """
    changed = {name: (value_of(stored, name), value_of(config, name)) for name in keys()}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    for name in FIXED:
        if name in changed:
            then, now = changed[name]
            raise UserError(
                f"{name}={now} differs from the checkpoint {path}, which holds {name}={then}; "
                f"leave {name}= out to go on with it"
            )
    shown = [f"{name} {then} → {now}" for name, (then, now) in changed.items() if _matters(name, config)]
    if shown:
        warn(f"going on with other settings than the checkpoint: {', '.join(shown)}")


def _matters(name: str, config: Config) -> bool:
    if name in ("trainer.max_epochs", "trainer.max_steps"):
        return config.optim.schedule == "cosine"  # its length changes
    return name not in HARMLESS and not name.startswith(HARMLESS_GROUPS)
