"""Settings of rules, losses, tasks and whatever else is chosen by name: dataclass fields that say what they mean."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: Any, meaning: str, compare: bool = True, key: str | None = None, **bounds: float) -> Any:
    """A field of a dataclass that users may set: its default, its meaning for ``--help``, bounds of its value.

    Args:
        default: the value when nothing is given; a list is copied for every object.
        meaning: one line for ``--help``.
        compare: whether two objects that differ in it are different.
        key: its name in configuration files, where that is not the field's.
        **bounds: ``ge``, ``gt``, ``le``, ``lt``: limits of its value.
    """
    metadata = {"help": meaning, "bounds": bounds, "key": key}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, compare=compare, metadata=metadata)
