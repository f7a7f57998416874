"""Ctrl-C and SIGTERM while training."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from ..errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_S = 1.0
"""A Ctrl-C this long after the first one is a human who will not wait; sooner, torchrun passing on the same one."""


class StopSignals:
    """Remembers a signal instead of acting on it, so that a step and its checkpoint are finished first."""

    def __init__(self) -> None:
        self.received = 0
        self._since_s = 0.0
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}

    def release(self) -> None:
        """Give them back to those who handled them before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.received and signum == signal.SIGINT and time.monotonic() - self._since_s > AGAIN_S:
            raise Interrupted(signum, "at once, the second time; go on with ckpt=last")
        self.received = self.received or signum
        self._since_s = self._since_s or time.monotonic()
