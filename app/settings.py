"""Settings of rules, losses, tasks and whatever else is chosen by name: dataclass fields that say what they mean."""

from __future__ import annotations

import operator
from dataclasses import Field, field, fields
from typing import Any

BOUNDS = {
    "ge": (operator.ge, "at least", ">="),
    "gt": (operator.gt, "greater than", ">"),
    "le": (operator.le, "at most", "<="),
    "lt": (operator.lt, "less than", "<"),
}
"""Bounds of a value: comparison, words, sign."""


def setting(default: Any, meaning: str, compare: bool = True, key: str | None = None, **bounds: float) -> Any:
    """A field of a dataclass that users may set: its default, its meaning for ``--help-all``, bounds of its value.

    Args:
        default: the value when nothing is given; a list is copied for every object.
        meaning: one line for ``--help-all``.
        compare: whether two objects that differ in it are different.
        key: its name in configuration files, where that is not the field's.
        **bounds: ``ge``, ``gt``, ``le``, ``lt``: limits of its value.
    """
    metadata = {"help": meaning, "bounds": bounds, "key": key}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, compare=compare, metadata=metadata)


def settings_of(owner: Any) -> list[Field[Any]]:
    """The fields of a dataclass, or of its object, that are settings; the others are for those who write code."""
    return [one for one in fields(owner) if "help" in one.metadata]


def key_of(one: Field[Any]) -> str:
    """The name of a setting in configuration files, behind its group."""
    return one.metadata["key"] or one.name


def within(value: Any, bounds: dict[str, float]) -> bool:
    """Whether a number keeps its bounds; NaN keeps none."""
    return all(BOUNDS[bound][0](value, limit) for bound, limit in bounds.items())


def bounds_words(bounds: dict[str, float]) -> str:
    """Bounds in words, e.g. ``at least 0 and less than 1``."""
    return " and ".join(f"{BOUNDS[bound][1]} {limit}" for bound, limit in bounds.items())


def check_settings(owner: Any) -> None:
    """Refuse numbers out of bounds, as a dataclass of settings does when it is made.

    Raises:
        ValueError: names the field.
    """
    for one in settings_of(owner):
        value, bounds = getattr(owner, one.name), one.metadata["bounds"]
        if isinstance(value, int | float) and not within(value, bounds):
            raise ValueError(f"{one.name}={value} is out of range: it must be {bounds_words(bounds)}")
