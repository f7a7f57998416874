"""What a learning rule is: one pointwise equation from the errors of spikes and spike times to that of the potential.

Two errors come down a network: the activation error δS = dL/dS and the timing error δt̂ = dL/dt̂. A rule makes of them
δV = dL/dV, neuron by neuron and step by step; everything behind δV is the same for all rules (SPEC 2).

A rule is one file: a frozen dataclass whose fields are its settings and whose ``membrane_error`` is its equation, a
static method that asks by name for quantities (:data:`QUANTITIES`) and settings, and is written with the functions of
:mod:`app.equations`. Every engine runs the same equation. docs/EXTENDING.md shows one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, cast

from ..equations import Equation, parameters
from ..neuron.limits import require_single_precision
from ..registry import Registry

QUANTITIES = {
    "error_S": "δS[t] = dL/dS[t], the activation error",
    "error_t": "δt̂[t] = dL/dt̂ of a spike at t, the timing error; means nothing where the neuron does not fire",
    "spikes": "whether the neuron fires at t; for where(), &, | and ~",
    "potential": "V[t] before the reset",
    "slope": "V[t] − V[t−1], with V[t−1] after its reset: the slope of the potential, per step",
    "current": "I[t] before the reset",
    "bias": "β_b b, what the bias adds to the potential in each step",
    "surrogate": "σ(V[t]), the derivative of the rule's surrogate",
    "lost_potential": "what a spike at t takes from V: V[t], or θ with reset=subtract",
    "lost_current": "what a spike at t takes from I: I[t], or 0 unless reset=both",
    "later_error": "δV_dep[t+1], the gradient with respect to the neuron's later potential along all paths",
    "later_current_error": "δI[t+1], the same for its current",
    "count": "Σ_t S[t], how often the neuron fires in the whole window",
    "theta": "θ, the threshold",
    "keeps_potential": "1 with reset=subtract, where a spike leaves V − θ behind; 0 where it sets V to 0",
    "alpha_v": "α_V",
    "alpha_i": "α_I",
    "beta_v": "β_V",
    "beta_i": "β_I",
}
"""What the equation of a rule may ask for, besides the rule's own settings."""
LATER = ("later_error", "later_current_error")
"""Known only inside the scan backwards in time."""


class Rule:
    """A learning rule; a subclass is a frozen dataclass that adds settings and ``membrane_error``.

    Attributes:
        surrogate: σ, for a rule that asks for it; None otherwise.
        through_reset: let errors pass through the resets in the scan backwards (SPEC 2, ``slayer``).
        silent_penalty: coefficient of the penalty that revives silent neurons in training; may be a setting.
        zero_without_errors: declare that δV = 0 wherever δS = 0 and δt̂ = 0: engines then skip what is certainly zero.
    """

    membrane_error: ClassVar[Any]
    """δV[t], all arguments pointwise: numbers, or tensors of shape [T, B, *N]."""
    surrogate = cast("Callable[..., Any] | None", None)
    through_reset: ClassVar[bool] = False
    zero_without_errors: ClassVar[bool] = False
    silent_penalty = 0.0

    def __post_init__(self) -> None:
        require_single_precision(**self.settings())
        if self.asks_for("surrogate") and not callable(self.surrogate):
            raise ValueError(f"{type(self).__name__} asks for 'surrogate': give it a field of that name")

    def settings(self) -> dict[str, float]:
        """The numbers among the settings, by field name: what the equation can ask for."""
        own: Any = self
        given = {item.name: getattr(self, item.name) for item in (fields(own) if is_dataclass(own) else ())}
        return {name: value for name, value in given.items() if isinstance(value, int | float)}

    @property
    def equation(self) -> Equation:
        """The equation that is in force; a rule with variants chooses it here."""
        equation: Equation = self.membrane_error
        return equation

    def parameters(self) -> tuple[str, ...]:
        """The names that the equation asks for, in order.

        Raises:
            ValueError: there is no such quantity or setting.
        """
        known = [*QUANTITIES, *self.settings()]
        return parameters(self.equation, known, f"{type(self).__name__}.{self.equation.__name__}")

    def asks_for(self, *names: str) -> bool:
        """Whether the equation asks for one of these quantities."""
        return bool({*names} & {*self.parameters()})

    @property
    def learns_from_spikes(self) -> bool:
        """Whether the activation error matters; an error that does not is never computed."""
        return self.asks_for("error_S")

    @property
    def learns_from_times(self) -> bool:
        """Whether the timing error matters."""
        return self.asks_for("error_t")


RULES: Registry[type[Rule]] = Registry("rule")
