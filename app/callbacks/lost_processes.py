"""What the processes of a run say when they lose one another."""

from __future__ import annotations

from pathlib import Path

import lightning as L

from ..errors import RunStopped, UserError
from ..resume.stop_signals import how_to_go_on
from .process_errors import keep_own_error, lost_the_others


class LostProcesses(L.Callback):
    """Turns the error of a process whose partner has gone into a sentence, and keeps that of one which failed itself.

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
        if lost_the_others(exception):
            reason = (str(exception).splitlines() or [""])[0][:120]
            raise RunStopped(
                f"process {trainer.global_rank} lost the others in step {trainer.global_step} "
                f"({reason}): one of them has ended; {how_to_go_on(self.out)}"
            ) from None
        answered = isinstance(exception, UserError | RunStopped | OSError) or not isinstance(exception, Exception)
        if trainer.world_size > 1 and not answered:
            keep_own_error(trainer, exception, self.out, how_to_go_on(self.out))
