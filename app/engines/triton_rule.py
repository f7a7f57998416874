"""A learning rule's equation inside Triton's kernels: the function that plain PyTorch runs, with other functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler.errors import CompilationError

from ..equations import rebound
from ..kernels import triton_build, triton_scans
from ..kernels.backward import POINTS
from ..rules.rule import Rule
from . import rule_structure
from .rule_structure import Structure, structure

CONSTANTS = ("theta", "alpha_v", "alpha_i", "beta_v", "beta_i", "keeps_potential")
"""Quantities that are constants of the neuron, in the order in which the kernel gives them."""
RESETS = ("both", "potential", "subtract")
ANY_TARGET = GPUTarget("cuda", 80, 32)
"""For which an equation's source is gone through; what it may say is the same for all."""


@cache
def forward_kernel(interpreted: bool) -> Any:
    """The forward scan, which is the same for all rules."""
    return triton_build.kernel(triton_scans.forward_scan, interpreted)


def backward_kernel(rule: Rule, interpreted: bool) -> Any:
    """The backward scan with the equations of a rule for which there is no :func:`obstacle`."""
    return _backward(structure(rule), interpreted)


def settings(rule: Rule) -> dict[str, tuple[float, ...]]:
    """The settings of a rule and of its surrogate, as the backward scan takes them."""
    of_rule, of_surrogate = rule_structure.settings(rule)
    return {"of_rule": tuple(map(float, of_rule)), "of_surrogate": tuple(map(float, of_surrogate))}


def obstacle(rule: Rule) -> str | None:
    """Why a rule cannot be compiled; None when it can."""
    return rule_structure.obstacle(rule) or _obstacle(structure(rule))


@cache
def _backward(structure: Structure, interpreted: bool) -> Any:
    """Raises ValueError when an equation refers to what kernels do not have, or has no source."""
    known: dict[str, Callable[..., Any]] = {
        "exp": triton_scans.exp,
        "sqrt": triton_scans.sqrt,
        "where": triton_scans.where,
        "maximum": triton_scans.maximum,
        "minimum": triton_scans.minimum,
        "abs": triton_scans.magnitude,
    }
    functions = {name: triton_build.device_function(function, interpreted) for name, function in known.items()}
    equations = {"equation": structure.rule.equation}
    if structure.surrogate:
        equations["derivative"] = structure.surrogate.equation
    scope = {
        name: triton_build.device_function(rebound(equation, functions), interpreted)
        for name, equation in equations.items()
    }
    places = {name: name for name in (*POINTS, *CONSTANTS)}
    text = structure.point(places, f"{', '.join((*POINTS, *CONSTANTS))}, of_rule, of_surrogate")
    point = triton_build.device_function(triton_build.defined(text, "point", scope), interpreted)
    return triton_build.kernel(triton_scans.backward_scan, interpreted, point=point)


@cache
def _obstacle(structure: Structure) -> str | None:
    try:
        kernel = _backward(structure, False)
        surrogate = structure.surrogate.settings if structure.surrogate else ()
        settings = {
            "of_rule": (1.0,) * (len(structure.rule.settings) + 1),
            "of_surrogate": (1.0,) * (len(surrogate) + 1),
        }
        triton_build.parse(triton_build.source_of(kernel, example_arguments("both", True) | settings, 32), ANY_TARGET)
    except ValueError as error:
        return f"its rule cannot be compiled: {error}"
    except CompilationError as error:
        return f"its rule cannot be compiled: {_reason(error)}"
    return None


def _reason(error: CompilationError) -> str:
    """What the compiler has to say about the innermost place."""
    while isinstance(error.__cause__, CompilationError):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:160]


def example_arguments(reset: str, currents: bool, through_reset: bool = False) -> dict[str, Any]:
    """Arguments of the backward scan but for the settings, of which only the kinds matter."""
    float_, int_ = torch.empty(0), torch.empty(0, dtype=torch.int32)
    tensors: dict[str, Any] = dict.fromkeys(
        ("error_S", "error_t", "potentials", "bias", "drive_error", "shift_error", "bias_error"), float_
    )
    whole = dict.fromkeys(("steps", "samples", "neurons", "pixels"), 2)
    constants = dict.fromkeys(
        ("theta", "alpha_v", "alpha_i", "beta_v", "beta_i", "beta_bias", "ahead_v", "half_i"), 1.0
    )
    kept = {"counts": int_, "last": int_, "currents": float_ if currents else None}
    return tensors | whole | constants | kept | {"RESET": reset, "THROUGH_RESET": through_reset}
