"""Pointwise equations: each written once, as a Python function of scalars, and run by every engine in its own way.

An equation asks for what it needs by the names of its parameters, reckons with ``+ - * /``, comparisons, ``& | ~`` and
the functions of this module, and returns one value::

    def membrane_error(error_t, spikes, slope, min_slope):
        return where(spikes, -error_t / maximum(slope, min_slope), 0.0)

Plain PyTorch calls it with tensors. A compiled engine takes the same code object and gives it its own ``where``,
``maximum``, ``exp`` (:func:`rebound`), so that there is no second copy of the mathematics.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

Equation = Callable[..., Any]


def exp(x: Tensor) -> Tensor:
    """e^x."""
    return torch.exp(x)


def sqrt(x: Tensor) -> Tensor:
    """The square root."""
    return torch.sqrt(x)


def where(condition: Tensor, inside: Tensor | float, outside: Tensor | float) -> Tensor:
    """``inside`` where the condition holds, ``outside`` elsewhere; at least one of them is no plain number."""
    return torch.where(condition, inside, outside)


def maximum(x: Tensor, limit: Tensor | float) -> Tensor:
    """The larger of both."""
    return torch.maximum(x, limit) if isinstance(limit, Tensor) else x.clamp(min=limit)


def minimum(x: Tensor, limit: Tensor | float) -> Tensor:
    """The smaller of both."""
    return torch.minimum(x, limit) if isinstance(limit, Tensor) else x.clamp(max=limit)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": exp,
    "sqrt": sqrt,
    "where": where,
    "maximum": maximum,
    "minimum": minimum,
    "abs": abs,
}
"""What an equation may call."""


def parameters(equation: Equation, known: Iterable[str], what: str) -> tuple[str, ...]:
    """The names that an equation asks for, in order.

    Args:
        equation: the function.
        known: the names that there are.
        what: the equation's name for messages.

    Raises:
        ValueError: it asks for something else.
    """
    names, known = _names(equation), list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{what} asks for {name!r}, which does not exist; it can have {', '.join(known)}")
    return names


@cache
def _names(equation: Equation) -> tuple[str, ...]:
    return tuple(inspect.signature(equation).parameters)


def values(names: Iterable[str], *sources: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of an equation: each name from the first source that has it."""
    return tuple(next(source[name] for source in sources if name in source) for name in names)


def rebound(equation: Equation, functions: Mapping[str, Callable[..., Any]]) -> FunctionType:
    """The same code with other functions in the place of :data:`FUNCTIONS`.

    Numbers that the equation's own module defines stay; whatever else it refers to is refused, for its meaning on
    another engine is not known.

    Raises:
        ValueError: it refers to something that the engine does not have.
    """
    if not isinstance(equation, FunctionType) or equation.__closure__:
        raise ValueError("it is no plain function at the top of a module or class")
    names: dict[str, Any] = {"__name__": __name__}  # a module that a cache of compiled code can import
    for name in equation.__code__.co_names:
        value = equation.__globals__.get(name, getattr(builtins, name, None))
        if name in functions and value is FUNCTIONS[name]:
            names[name] = functions[name]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            names[name] = value
        else:
            raise ValueError(f"it refers to {name!r}; only {', '.join(functions)} and numbers can be compiled")
    return FunctionType(equation.__code__, names, equation.__name__, equation.__defaults__)


def source(equation: Equation) -> str:
    """What makes an equation: its code and the numbers it refers to, as text for the key of a cache."""
    code = equation.__code__
    numbers = {
        n: equation.__globals__.get(n) for n in code.co_names if isinstance(equation.__globals__.get(n), int | float)
    }
    return repr((code.co_code, code.co_consts, code.co_names, code.co_varnames, equation.__defaults__, numbers))
