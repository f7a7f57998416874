"""What a loss returns, in PyTorch's words."""

from __future__ import annotations

from typing import Literal, get_args

Reduction = Literal["mean", "none"]
"""``mean`` over the samples of the batch, or ``none``: the loss of each sample, [B]."""


def check_reduction(reduction: str) -> None:
    """Refuse what is no :data:`Reduction`.

    Raises:
        ValueError: naming the argument and the choices.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction={reduction!r} must be one of {', '.join(get_args(Reduction))}")
