"""Where the runs of a sweep are run: ``launcher=NAME launcher.SETTING=VALUE``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, cast, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..config.schema import type_words
from ..errors import UserError
from ..registry import Registry
from ..settings import bounds_words, settings_of, within
from .plan import Trial

GROUP = "launcher"


class Finished(NamedTuple):
    """A run that ended in this session.

    Args:
        trial: the run.
        exit_code: of its process, 0 for success.
        seconds: how long it took, waiting included.
        trouble: what is known of it where it has no exit code of its own.
    """

    trial: Trial
    exit_code: int
    seconds: float
    trouble: str = ""


class Launcher(Protocol):
    """Runs trials, each as a process of ``train.py``; a frozen dataclass, whose fields made by ``setting`` are keys.

    Attributes:
        after_stop: what has become of the runs when the sweep was stopped.
    """

    after_stop: ClassVar[str]

    def check(self, jobs: int | None) -> None:
        """Raise a UserError if so many runs at the same time cannot be, or what launches them is missing."""

    def words(self, jobs: int | None, runs: int) -> str:
        """How so many runs are run: "2 at a time"."""

    def run_all(
        self, trials: Sequence[Trial], jobs: int | None, lock: int, report: Callable[[Finished], None]
    ) -> list[Finished]:
        """Run trials and wait for them.

        Args:
            trials: the runs, in order.
            jobs: runs at the same time; None for as many as there is room for.
            lock: the handle of the lock on the sweep's folder.
            report: is told of every run that ends.
        """


LAUNCHERS: Registry[type[Launcher]] = Registry("launcher")


def launcher_of(given: Mapping[str, str]) -> Launcher:
    """The launcher that ``launcher=`` and ``launcher.SETTING=`` describe.

    Raises:
        UserError: names the key.
    """
    name = given.get(GROUP, "local")
    kind = LAUNCHERS[name]
    known, hints = {f"{GROUP}.{one.name}": one for one in settings_of(kind)}, get_type_hints(kind)
    tree = OmegaConf.structured(kind)
    OmegaConf.set_readonly(tree, False)
    for key, text in given.items():
        if key == GROUP:
            continue
        if key not in known:
            raise UserError(f"{key} is no setting of launcher={name}, which has {', '.join(known) or 'none'}")
        one = known[key]
        try:
            OmegaConf.update(tree, one.name, yaml.load(text, yaml.BaseLoader) if hints[one.name] == list[str] else text)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError):
            raise UserError(f"{key} expects {type_words(hints[one.name])}, got {text!r}") from None
        value, bounds = tree[one.name], one.metadata["bounds"]
        if isinstance(value, int | float) and not within(value, bounds):
            raise UserError(f"{key}={text} is out of range: it must be {bounds_words(bounds)}")
    return cast(Launcher, OmegaConf.to_object(tree))
