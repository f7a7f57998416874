"""What the compiled forms of a learning rule have in common: its equations, and how they are put together."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from ..equations import Equation, source
from ..neuron.surrogate import Surrogate
from ..rules.layer_rule import LayerRule
from ..rules.rule import Rule


class Part(NamedTuple):
    """An equation, the names that it asks for, and the names of its settings in order."""

    equation: Equation
    asks_for: tuple[str, ...]
    settings: tuple[str, ...]

    @property
    def key(self) -> str:
        """What distinguishes it, as text for the key of a cache."""
        return f"{source(self.equation)} {self.asks_for} {self.settings}"


class Structure(NamedTuple):
    """What distinguishes compiled rules, whatever the values of their settings."""

    rule: Part
    surrogate: Part | None
    through_reset: bool
    skips: bool

    def point(self, places: dict[str, str], parameters: str) -> str:
        """The source of ``point``: δV from the names that kernels give, by the functions ``equation``, ``derivative``.

        Args:
            places: where each quantity is found.
            parameters: of the function; its settings are the tuples ``of_rule`` and ``of_surrogate``.

        Raises:
            ValueError: an equation asks for a quantity that has no place.
        """
        if self.surrogate:
            places = places | {"surrogate": f"derivative({_arguments(self.surrogate, places, 'of_surrogate')})"}
        call = f"equation({_arguments(self.rule, places, 'of_rule')})"
        return f"def point({parameters}):\n    return {call}\n"


def structure(rule: Rule) -> Structure:
    """The structure of a rule for which there is no :func:`obstacle`."""
    surrogate: Any = rule.surrogate if rule.asks_for("surrogate") else None
    return Structure(
        Part(rule.equation, rule.parameters(), tuple(rule.settings())),
        surrogate and Part(surrogate.derivative, surrogate.parameters(), tuple(surrogate.settings())),
        rule.through_reset,
        rule.zero_without_errors,
    )


def settings(rule: Rule) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The settings of a rule and of its surrogate, as kernels take them; never empty."""
    surrogate = cast(Surrogate, rule.surrogate).settings() if rule.asks_for("surrogate") else {}
    return (*rule.settings().values(), 0), (*surrogate.values(), 0)


def obstacle(rule: Rule) -> str | None:
    """Why a rule has no structure; None when it has one."""
    if not isinstance(rule, Rule):
        return f"its rule is a {type(rule).__name__}, which is no Rule"
    if isinstance(rule, LayerRule):
        return f"its rule {type(rule).__name__} is no pointwise equation but differentiates whole layers"
    if rule.asks_for("surrogate") and not _is_known(rule.surrogate):
        return f"its surrogate {type(rule.surrogate).__name__} is more than an equation"
    return None


def _is_known(surrogate: Any) -> bool:
    return isinstance(surrogate, Surrogate) and type(surrogate).__call__ is Surrogate.__call__


def _arguments(part: Part, places: dict[str, str], own: str) -> str:
    own_places = {name: f"{own}[{i}]" for i, name in enumerate(part.settings)}
    for name in part.asks_for:
        if name not in places | own_places:
            raise ValueError(f"it asks for {name!r}, which this engine does not have")
    return ", ".join((places | own_places)[name] for name in part.asks_for)
