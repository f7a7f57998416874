"""What exists of one kind - rules, losses, engines, tasks - by name: the one place where a new one is made known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from .errors import UserError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names and what they mean, in the order in which they were registered.

    Example::

        RULES: Registry[type[Rule]] = Registry("rule")

        @RULES.register("mine")
        class Mine(Rule): ...

    Args:
        kind: what is registered here, in one word for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._known: dict[str, T] = {}
        self._former: dict[str, str] = {}

    def register(self, name: str, *former: str) -> Callable[[T], T]:
        """A decorator that makes its object known under a name.

        Args:
            name: lower-case letters, digits and underscores.
            former: names that it had before; they are understood and not listed.

        Raises:
            ValueError: the name is taken or is no such name.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{self.kind} {name!r}: a name has lower-case letters, digits and underscores only")

        def add(thing: T) -> T:
            for taken in (name, *former):
                if taken in self._known or taken in self._former:
                    raise ValueError(f"{self.kind} {taken!r} exists already; choose another name")
            self._known[name] = thing
            self._former |= dict.fromkeys(former, name)
            return thing

        return add

    def remove(self, name: str) -> None:
        """Forget a name, as a test does with what it has registered."""
        del self._known[name]
        self._former = {old: new for old, new in self._former.items() if new != name}

    def name_of(self, thing: T) -> str | None:
        """The name under which an object is registered; None when it is not."""
        return next((name for name, known in self._known.items() if known is thing), None)

    def __getitem__(self, name: str) -> T:
        """What a name means.

        Raises:
            UserError: nothing has this name.
        """
        if name in self._former:
            name = self._former[name]
        if name not in self._known:
            close = get_close_matches(str(name), self._known, 1)
            meant = f", did you mean {close[0]!r}?" if close else ";"
            raise UserError(f"{self.kind} {name!r} is unknown{meant} known are {', '.join(self._known)}")
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._former

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def import_all(package: str) -> None:
    """Import every module of a package, so that what they register is known: a new file needs no list to stand in."""
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
