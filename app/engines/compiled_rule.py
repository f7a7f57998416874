"""A learning rule's equation, compiled for lanes: the code object that plain PyTorch runs, with other functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core.errors import NumbaError

from ..equations import rebound
from ..kernels import lanes
from ..kernels.backward import POINTS, Kernels, backward_kernels, probe_kernel
from ..kernels.compile import named_after
from ..rules.rule import Rule
from . import rule_structure
from .rule_structure import Part, Structure, structure

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


class Compiled(NamedTuple):
    """A rule for this engine.

    Args:
        obstacle: why it cannot be compiled; None when it can.
        structure: what its kernels depend on; None when there is an obstacle.
        settings: of the rule and of its surrogate, as its kernels take them; never empty.
    """

    obstacle: str | None
    structure: Structure | None
    settings: tuple[tuple[np.float32, ...], ...]


def backward(rule: Rule) -> Kernels:
    """The kernels (:func:`app.kernels.backward.backward_kernels`) of a rule for which there is no :func:`obstacle`."""
    return _backward(_known(rule).structure)


def obstacle(rule: Rule) -> str | None:
    """Why a rule cannot be compiled; None when it can."""
    return _known(rule).obstacle


def settings(rule: Rule) -> tuple[tuple[np.float32, ...], ...]:
    """The settings of a rule and of its surrogate, as its kernels take them; never empty."""
    return _known(rule).settings


def _known(rule: Rule) -> Compiled:
    """What is known of a rule; that of frozen dataclasses, which cannot change, is remembered: it is asked for in every
    step."""
    parameters = getattr(type(rule), "__dataclass_params__", None)
    surrogate = getattr(type(getattr(rule, "surrogate", None)), "__dataclass_params__", parameters)
    if parameters and surrogate and parameters.frozen and surrogate.frozen:
        return _remembered(rule)
    return _compile(rule)


def _compile(rule: Rule) -> Compiled:
    if found := rule_structure.obstacle(rule):
        return Compiled(found, None, ())
    known = structure(rule)
    if found := _obstacle(known):
        return Compiled(found, None, ())
    return Compiled(None, known, tuple(tuple(map(np.float32, part)) for part in rule_structure.settings(rule)))


_remembered = lru_cache(64)(_compile)


@cache
def _point(structure: Structure) -> tuple[Callable[..., Any], str]:
    """δV of 64 neurons as a compiled function of POINTS, constants and settings; and its source, as a key.

    Raises:
        ValueError: an equation refers to what compiled code does not have.
    """
    rule, surrogate = structure.rule, structure.surrogate
    functions: dict[str, Any] = {"__name__": __name__, "equation": _compiled(rule)}
    if surrogate:
        functions["derivative"] = _compiled(surrogate)
    places = {name: name for name in POINTS} | CONSTANTS
    text = structure.point(places, f"{', '.join(POINTS)}, neuron, of_rule, of_surrogate")
    exec(text, functions)  # composed of names of quantities alone
    key = repr((text, rule.key, surrogate and surrogate.key))
    return njit(error_model="numpy", forceinline=True)(named_after(functions["point"], key)), key


def _compiled(part: Part) -> Callable[..., Any]:
    return njit(error_model="numpy", forceinline=True)(named_after(rebound(part.equation, FUNCTIONS), part.key))


@cache
def _obstacle(structure: Structure) -> str | None:
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
def _backward(structure: Structure) -> Kernels:
    point, key = _point(structure)
    return backward_kernels(point, key, frozenset(structure.rule.asks_for), structure.through_reset, structure.skips)
