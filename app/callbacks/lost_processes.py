"""What the processes of a run say when they lose one another."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch.distributed as dist

from ..errors import RunStopped
from ..resume.stop_signals import how_to_go_on


class LostProcesses(L.Callback):
    """Turns the error of a process whose partner has gone into a sentence.

    Args:
        out: the run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what has happened.

        Raises:
            RunStopped: naming the step and the command that goes on.
        """
        if dist.is_initialized() and isinstance(exception, RuntimeError) and not isinstance(exception, RunStopped):
            reason = (str(exception).splitlines() or [""])[0][:120]
            raise RunStopped(
                f"process {trainer.global_rank} lost the others in step {trainer.global_step} "
                f"({reason}): one of them has ended; {how_to_go_on(self.out)}"
            ) from None
