"""Where a checkpoint comes from: the code and the data that made it."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..notice import warn
from ..running import data_of


class Origin(L.Callback):
    """Stores the code version and the fingerprint of the data, and warns when a run goes on with others.

    Args:
        code_version: of this process.
    """

    def __init__(self, code_version: str) -> None:
        self.now = {"code version": code_version}
        self.then: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Code version and data fingerprint."""
        return dict(self.now)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what made the checkpoint."""
        self.then = {what: str(then) for what, then in state_dict.items()}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare; the samples are loaded by now."""
        self.now["data"] = data_of(trainer).fingerprint()
        for what, then in self.then.items():
            if then != self.now[what]:
                warn(f"going on with another {what} ({self.now[what]}) than the checkpoint was made with ({then})")
