"""Where faults are tried: a folder with an undisturbed run, and more runs that something happens to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from app.errors import RunStopped
from app.resume.checkpoint import LAST
from app.run_files import CHECKPOINTS, METRICS, read_metrics
from reliability.child import Child
from reliability.digest import digests_of

SETTINGS = [
    *("task=digits", "network=[64,fc20,fc10]", "time_steps=30", "trainer.max_epochs=12", "optim.schedule=constant"),
    *("trainer.limit_train_batches=8", "trainer.log_every_n_steps=3", "trainer.enable_progress_bar=false"),
    *("probes.raster=false", "tracking.mode=disabled", "checkpoint_every_s=0"),
]
OFFLINE_WORLD = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
"""Nothing leaves this machine: the proxy does not exist."""
STUCK_S = 900.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Args:
        tried: what was done to it, and how often.
        happened: what it did.
        survived: whether that is what it should do.
        lost: what is gone for good.
    """

    tried: str
    happened: str
    survived: bool
    lost: str = "nothing"


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, what it printed, how long it took."""

    code: int | None
    printed: str
    seconds: float

    @property
    def sentence(self) -> str:
        """The last line that it printed, which says what was wrong."""
        lines = [line for line in self.printed.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def is_sentence(self) -> bool:
        """Whether it printed no traceback."""
        return "Traceback" not in self.printed

    def warning(self, words: str) -> str:
        """The warning with some words in it, empty if there is none."""
        return next((line for line in self.printed.splitlines() if "warning: " in line and words in line), "")


@dataclass
class Bench:
    """Runs short trainings of the digits in real processes.

    Args:
        folder: of all runs.
    """

    folder: Path
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, *settings: str, before: tuple[str, ...] = (), **environment: str) -> Child:
        """Start a run, or go on with it if ``ckpt=`` is among the settings."""
        given = {setting.split("=")[0] for setting in settings}
        usual = [] if "ckpt" in given else [s for s in SETTINGS if s.split("=")[0] not in given]
        child = Child(self.folder / name, [*usual, *settings], {**OFFLINE_WORLD, **environment}, before)
        self.children.append(child)
        return child

    def kill(self) -> None:
        """End all processes that are left."""
        for child in self.children:
            if child.process.poll() is None:
                child.kill()

    def train(self, name: str, *settings: str, before: tuple[str, ...] = (), **environment: str) -> Ended:
        """Start a run and wait until it ends."""
        with self.start(name, *settings, before=before, **environment) as child:
            return self.end_of(child)

    @staticmethod
    def end_of(child: Child, seconds: float = STUCK_S) -> Ended:
        """Wait until a process ends."""
        began = time.monotonic()
        code = child.code_within(seconds)
        return Ended(code, child.printed(), time.monotonic() - began)

    def begun(self, name: str, *settings: str, before: tuple[str, ...] = (), **environment: str) -> Child:
        """Start a run and wait for its first checkpoint.

        Raises:
            RunStopped: it ended before.
        """
        child = self.start(name, *settings, before=before, **environment)
        wait_for((child.out / CHECKPOINTS / LAST).exists, child)
        return child

    @cached_property
    def whole(self) -> Path:
        """The undisturbed run; read before threads are, so that it is made once."""
        ended = self.train("whole")
        if ended.code != 0:
            raise RunStopped(f"the undisturbed run failed: {ended.printed[-500:]}")
        return self.folder / "whole"

    def is_whole(self, name: str) -> bool:
        """Whether a run has become what the undisturbed one is, bit for bit."""
        return digests_of(self.folder / name) == digests_of(self.whole)

    def resumed(self, name: str) -> str:
        """Go on with a run: "" when it becomes what the undisturbed one is, else what is wrong."""
        ended = self.train(name, "ckpt=last")
        if ended.code != 0:
            return f"cannot go on: {ended.sentence}"
        return "" if self.is_whole(name) else "it goes on as another run"

    def metrics(self, name: str) -> list[dict[str, float]]:
        """The table of metrics without its empty cells."""
        return read_metrics(self.folder / name / METRICS)[0]


def wait_for(condition: Callable[[], bool], child: Child) -> None:
    """Wait while a process goes on.

    Raises:
        RunStopped: it ended before.
    """
    while not condition():
        if child.code_within(0.02) is not None:
            raise RunStopped(f"{child.out.name} ended too early: {child.printed()[-500:]}")
