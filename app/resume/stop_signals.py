"""Ctrl-C, SIGTERM and SIGHUP (the terminal closes) while a run trains, and after."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import lightning as L

from ..errors import Interrupted

HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([HANGUP] if HANGUP else [])]
AGAIN_S = 1.0
"""A Ctrl-C this long after the first one is a human who will not wait; sooner, torchrun passing on the same one."""


class StopSignals(L.Callback):
    """Remembers a signal while training, so that a step and its checkpoint are finished first; after it, stops at once.

    Works inside a ``with`` block, at whose end the signals are given back to those who handled them before it.

    Args:
        out: the run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.received = 0
        self.trained = False
        self._since_s = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.getsignal(signum) for signum in SIGNALS}
            if HANGUP is not None and self._before.get(HANGUP) == signal.SIG_IGN:
                del self._before[HANGUP]  # as nohup wants it
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From now on signals wait for a checkpoint."""
        self._listen()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The work is safe."""
        self.trained = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen again: Lightning has given back what was there before it, and no training is needed to come here."""
        self.trained = True
        self._listen()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """The run ends."""
        self.__exit__()

    def stop(self, signum: int, step: int) -> NoReturn:
        """End the run, whose state is saved.

        Raises:
            Interrupted: always.
        """
        raise Interrupted(signum, f"step {step} is saved; {how_to_go_on(self.out)}")

    def _listen(self) -> None:
        for signum in self._before:
            signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.trained:
            raise Interrupted(signum, f"training is over and saved; {how_to_go_on(self.out)}")
        if self.received and signum == signal.SIGINT and time.monotonic() - self._since_s > AGAIN_S:
            raise Interrupted(signum, "at once, the second time; go on with ckpt=last")
        self.received = self.received or signum
        self._since_s = self._since_s or time.monotonic()


def how_to_go_on(out: Path) -> str:
    """The command that goes on with a run."""
    return f"go on with: python train.py ckpt=last out={out}"
