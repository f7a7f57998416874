"""All settings of a run: those of every run and those of every component that can be chosen.

:mod:`app.config` fills them from a file and the command line, :mod:`app.config.help` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import UserError
from ..settings import BOUNDS, bounds_words
from ..settings import setting as key
from .components import SLOTS, Setting, Slot, chosen_names, owned_settings
from .groups import Config, DataConfig, LearningConfig, NeuronConfig, ObjectiveConfig, ProbesConfig, value_of

__all__ = ["Config", "Key", "config_type", "keys", "misplaced", "owners_text", "sections", "type_words", "value_of"]

COMMON = {
    "neuron": NeuronConfig,
    "learning": LearningConfig,
    "objective": ObjectiveConfig,
    "data": DataConfig,
    "probes": ProbesConfig,
}
"""The groups that components add their settings to."""


@dataclass(frozen=True)
class Key:
    """One setting.

    Args:
        name: dotted key, e.g. ``optim.lr``.
        hint: its type.
        default: its default.
        meaning: what it does.
        bounds: limits of its value, e.g. ``{"gt": 0}``.
        owners: the components that have it, such as ``("loss", "count")``; none if every run has it.
    """

    name: str
    hint: Any
    default: Any
    meaning: str
    bounds: dict[str, float]
    owners: tuple[tuple[str, str], ...] = ()

    @property
    def type(self) -> str:
        """The type in words, e.g. ``integer or null``."""
        return type_words(self.hint)

    @property
    def expected(self) -> str:
        """The type in words for a message, e.g. ``one of adam, sgd, adamw``."""
        return f"one of {self.type}" if get_origin(self.choices[0]) is Literal else self.type

    @property
    def range(self) -> str:
        """The bounds in words, e.g. ``at least 0 and less than 1``."""
        return bounds_words(self.bounds)

    @property
    def signs(self) -> str:
        """The bounds in signs, e.g. ``>= 0, < 1``."""
        return ", ".join(f"{BOUNDS[bound][2]} {limit}" for bound, limit in self.bounds.items())

    @property
    def choices(self) -> list[Any]:
        """The types joined in ``hint`` (``int | None``: both), alone if there is one."""
        return list(get_args(self.hint)) if get_origin(self.hint) in (Union, UnionType) else [self.hint]

    @property
    def is_text(self) -> bool:
        """Whether every value but null is text, so that ``key=1e3`` means the three letters."""
        return all(hint in (str, NoneType) or get_origin(hint) is Literal for hint in self.choices)

    @property
    def is_texts(self) -> bool:
        """Whether the value is a list of text."""
        return list[str] in self.choices

    @property
    def is_nullable(self) -> bool:
        """Whether null is a value."""
        return NoneType in self.choices


WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "null"}


def type_words(hint: Any) -> str:
    """A type in words for users: ``int | None`` is "integer or null"."""
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in get_args(hint) if part is not int or float not in get_args(hint)]
        return " or ".join(type_words(part) for part in parts)
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    if get_origin(hint) is list:
        return "list of " + {str: "text", int: "integers"}[get_args(hint)[0]]
    return WORDS[hint]


def _keys(owner: type, prefix: str) -> list[Key]:
    hints, default, found = get_type_hints(owner), owner(), []
    for item in fields(owner):
        if is_dataclass(hints[item.name]):
            found += _keys(hints[item.name], f"{prefix}{item.name}.")
        else:
            value, about = getattr(default, item.name), item.metadata
            found.append(Key(prefix + item.name, hints[item.name], value, about["help"], about["bounds"]))
    return found


def _known() -> tuple[tuple[str, Any], ...]:
    """All components of the moment: what the schema depends on."""
    return tuple((f"{slot.key}={name}", its) for slot in SLOTS.values() for name, its in slot.registry.items())


def config_type() -> type[Config]:
    """:class:`Config` with the settings of all components in its groups."""
    return _built(_known())[0]


def keys() -> dict[str, Key]:
    """All settings by dotted key: those of every run in the order in which they are declared, then the components'."""
    return _built(_known())[1]


@cache
def _built(known: tuple[tuple[str, Any], ...]) -> tuple[type[Config], dict[str, Key]]:
    owned = _merged(owned_settings())
    groups = {name: _group(name, common, owned) for name, common in COMMON.items()}
    chosen = [(name, hint, _default_field(Config, name)) for name, hint in _chosen_hints().items()]
    grouped = [(name, kind, field(default_factory=kind)) for name, kind in groups.items()]
    built = make_dataclass("Config", [*chosen, *grouped], bases=(Config,))
    built.__doc__ = Config.__doc__
    owners = {name: key.owners for name, key in owned.items()}
    return built, {k.name: replace(k, owners=owners.get(k.name, ())) for k in _keys(built, "")}


def _chosen_hints() -> dict[str, Any]:
    """The types of the keys of a run that name a component: one of the names."""
    hints = {}
    for slot in SLOTS.values():
        if "." not in slot.key and get_type_hints(Config)[slot.key] != list[str]:
            names: Any = Literal[slot.names]
            hints[slot.key] = names | None if NoneType in get_args(get_type_hints(Config)[slot.key]) else names
    return hints


def _default_field(owner: type, name: str) -> Any:
    one = next(f for f in fields(owner) if f.name == name)
    return field(default=one.default, compare=one.compare, metadata=one.metadata)


def _group(name: str, common: type, owned: Mapping[str, Key]) -> type:
    """A group of keys: its common ones, then those of the components."""
    theirs = [k for k in owned.values() if k.name.startswith(f"{name}.")]
    extra = [
        (one.name, Literal[SLOTS[f"{name}.{one.name}"].names], _default_field(common, one.name))
        for one in fields(common)
        if f"{name}.{one.name}" in SLOTS
    ]
    for k in theirs:
        last = k.name.rpartition(".")[2]
        extra.append((last, k.hint, key(k.default, k.meaning, True, None, **k.bounds)))
    built = make_dataclass(common.__name__, extra, bases=(common,))
    built.__doc__ = common.__doc__
    return built


def _merged(settings: Iterable[Setting]) -> dict[str, Key]:
    """One key for all settings of the same name, which must mean the same; without those that every run has."""
    common = {f"{group}.{k.name}": k for group, kind in COMMON.items() for k in _keys(kind, "")}
    merged: dict[str, Key] = {}
    for one in settings:
        hint = Literal[one.hint.names] if isinstance(one.hint, Slot) else one.hint
        owners = () if one.is_standard else ((one.slot.key, one.component),)
        new = Key(one.key, hint, one.default, one.meaning, one.bounds, owners)
        known = merged.get(one.key) or common.get(one.key)
        if known is not None:
            _check_same(known, new, f"{one.slot.key}={one.component}")
        if one.key in merged:
            merged[one.key] = _joined(merged[one.key], new)
        elif one.key not in common:
            merged[one.key] = new
    return merged


def _check_same(known: Key, new: Key, who: str) -> None:
    if _plain(known.hint) != _plain(new.hint) or known.bounds != new.bounds:
        others = owners_text(known) if known.owners else "every run"
        raise UserError(
            f"{who}: its setting {new.name} is {new.type} {new.signs}, but that of {others} is {known.type} "
            f"{known.signs}; give it another key="
        )


def _plain(hint: Any) -> set[Any]:
    """The types of a value that is not null; a path is text to users."""
    parts = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
    return parts - {NoneType, Path}


def _joined(known: Key, new: Key) -> Key:
    """A key of two components; where their defaults differ, null stands for the component's own."""
    same = known.default == new.default and known.hint == new.hint
    hint, default = (known.hint, known.default) if same else (known.hint | None, None)
    return replace(
        known, hint=hint, default=default, owners=known.owners + new.owners if known.owners and new.owners else ()
    )


def owners_text(key: Key) -> str:
    """The components that have a key, as a user would choose them: ``rule=activation or rule=antlr``."""
    return " or ".join(f"{slot}={name}" for slot, name in key.owners)


def misplaced(config: Config, names: Iterable[str]) -> Iterator[str]:
    """What is wrong with settings that belong to components which were not chosen, a sentence each."""
    chosen = chosen_names(config)
    for name in names:
        key = keys()[name]
        if not _applies(key, chosen):
            while (owner := keys().get(key.owners[0][0])) and owner.owners and not _applies(owner, chosen):
                key = owner
            slots = dict.fromkeys(slot for slot, _ in key.owners)
            instead = ", ".join(f"{slot}={','.join(chosen[slot])}" for slot in slots)
            yield f"{name} is a setting of {owners_text(key)}; leave it out with {instead}"


def _applies(key: Key, chosen: Mapping[str, list[str]]) -> bool:
    return not key.owners or any(
        name in chosen[slot] and (slot not in keys() or _applies(keys()[slot], chosen)) for slot, name in key.owners
    )


def sections() -> dict[str, str]:
    """The groups of keys and what they are about."""
    return {name: kind.__doc__ or "" for name, kind in get_type_hints(config_type()).items() if is_dataclass(kind)}
