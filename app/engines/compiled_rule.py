"""A learning rule's equation, compiled for lanes: the code object that plain PyTorch runs, with other functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core.errors import NumbaError

from ..equations import Equation, rebound, source
from ..kernels import lanes
from ..kernels.backward import POINTS, backward_kernel, probe_kernel
from ..neuron.surrogate import Surrogate
from ..rules.rule import Rule

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": lanes.exponential,
    "sqrt": lanes.square_root,
    "where": lanes.where,
    "maximum": lanes.maximum,
    "minimum": lanes.minimum,
    "abs": abs,
}
"""What stands for :data:`app.equations.FUNCTIONS` in compiled code."""
CONSTANTS = {
    "theta": "neuron.threshold",
    "alpha_v": "neuron.alpha_v",
    "alpha_i": "neuron.alpha_i",
    "beta_v": "neuron.beta_v",
    "beta_i": "neuron.beta_i",
    "keeps_potential": "(1.0 if neuron.subtracts else 0.0)",
}
"""Quantities that are constants of the neuron, as :class:`app.kernels.layout.Constants` has them."""


class _Part(NamedTuple):
    """An equation, the names that it asks for, and the names of its settings in order."""

    equation: Equation
    asks_for: tuple[str, ...]
    settings: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{source(self.equation)} {self.asks_for} {self.settings}"


class _Structure(NamedTuple):
    """What distinguishes compiled rules, whatever the values of their settings."""

    rule: _Part
    surrogate: _Part | None
    through_reset: bool
    skips: bool


def backward(rule: Rule) -> Callable[..., Any]:
    """The kernel :func:`app.kernels.backward.backward_kernel` of a rule for which there is no :func:`obstacle`."""
    return _backward(_structure(rule))


def obstacle(rule: Rule) -> str | None:
    """Why a rule cannot be compiled; None when it can."""
    if not isinstance(rule, Rule):
        return f"its rule is a {type(rule).__name__}, which is no Rule"
    if rule.asks_for("surrogate") and not _is_known(rule.surrogate):
        return f"its surrogate {type(rule.surrogate).__name__} is more than an equation"
    return _obstacle(_structure(rule))


def settings(rule: Rule) -> tuple[tuple[np.float32, ...], tuple[np.float32, ...]]:
    """The settings of a rule and of its surrogate, as its kernel takes them; never empty."""
    surrogate = rule.surrogate.settings() if rule.asks_for("surrogate") else {}  # type: ignore[union-attr]
    return tuple(map(np.float32, (*rule.settings().values(), 0))), tuple(map(np.float32, (*surrogate.values(), 0)))


def _is_known(surrogate: Any) -> bool:
    return isinstance(surrogate, Surrogate) and type(surrogate).__call__ is Surrogate.__call__


def _structure(rule: Rule) -> _Structure:
    surrogate: Any = rule.surrogate if rule.asks_for("surrogate") else None
    return _Structure(
        _Part(rule.equation, rule.parameters(), tuple(rule.settings())),
        surrogate and _Part(surrogate.derivative, surrogate.parameters(), tuple(surrogate.settings())),
        rule.through_reset,
        rule.zero_without_errors,
    )


@cache
def _point(structure: _Structure) -> tuple[Callable[..., Any], str]:
    """δV of 64 neurons as a compiled function of POINTS, constants and settings; and its source, as a key.

    Raises:
        ValueError: an equation refers to what compiled code does not have.
    """
    rule, surrogate = structure.rule, structure.surrogate
    functions = {"equation": _compiled(rule.equation)}
    places = {name: name for name in POINTS} | CONSTANTS
    if surrogate:
        functions["derivative"] = _compiled(surrogate.equation)
        places["surrogate"] = f"derivative({_arguments(surrogate, places, 'of_surrogate')})"
    call = f"equation({_arguments(rule, places, 'of_rule')})"
    text = f"def point({', '.join(POINTS)}, neuron, of_rule, of_surrogate):\n    return {call}\n"
    exec(text, functions)  # composed of names of quantities alone
    keys = (text, rule.key, surrogate and surrogate.key)
    return njit(error_model="numpy", forceinline=True)(functions["point"]), repr(keys)


def _arguments(part: _Part, places: dict[str, str], own: str) -> str:
    own_places = {name: f"{own}[{i}]" for i, name in enumerate(part.settings)}
    return ", ".join((places | own_places)[name] for name in part.asks_for)


def _compiled(equation: Equation) -> Callable[..., Any]:
    return njit(error_model="numpy", forceinline=True)(rebound(equation, FUNCTIONS))


@cache
def _obstacle(structure: _Structure) -> str | None:
    try:
        point, key = _point(structure)
        own = (np.float32(1),) * (len(structure.rule.settings) + 1)
        of_surrogate = (np.float32(1),) * (len(structure.surrogate.settings if structure.surrogate else ()) + 1)
        probe_kernel(point, key)(own, of_surrogate)
    except ValueError as error:
        return f"its rule cannot be compiled: {error}"
    except NumbaError as error:
        return f"its rule cannot be compiled: {_reason(error)}"
    return None


def _reason(error: NumbaError) -> str:
    """The first line of a compiler's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Failed in", "-", "During", "Overload", "Rejected"))]
    return (told or lines or [type(error).__name__])[0][:160]


@cache
def _backward(structure: _Structure) -> Callable[..., Any]:
    point, key = _point(structure)
    return backward_kernel(point, key, frozenset(structure.rule.asks_for), structure.through_reset, structure.skips)
