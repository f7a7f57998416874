"""Callbacks of choice: dataclasses of settings that make a Lightning callback, known by name in :data:`CALLBACKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..registry import Registry
from ..settings import check_settings


class RunParts(NamedTuple):
    """What a callback may need of the run that it watches.

    Args:
        out: the run's folder.
        seed: its seed.
        rules: makes all rules that learn from the run's loss, by name.
    """

    out: Path
    seed: int
    rules: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class CallbackSettings:
    """Settings of a callback; one of one's own is a subclass in a file.

    Its fields are made by :func:`app.settings.setting` and appear under ``probes.`` in the configuration.

    Attributes:
        is_standard: whether every run has it; if not, ``callbacks=[name]`` asks for it.
    """

    is_standard: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

    def callback(self, run: RunParts) -> Any:
        """The Lightning callback, or None where the settings ask for none."""
        raise NotImplementedError


CALLBACKS: Registry[type[CallbackSettings]] = Registry("callback")
