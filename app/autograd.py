"""What every autograd function of this project has in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor


class Function(torch.autograd.Function):
    """An autograd function of this project; PyTorch leaves ``apply`` without types."""

    if TYPE_CHECKING:

        @classmethod
        def apply(cls, *args: Any) -> Any:
            """Run ``forward``, and remember how to go back."""


def first_derivative_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For the ``backward`` of an autograd function: refuse ``create_graph=True`` instead of ignoring it in silence.

    A learning rule puts something else in the place of derivatives that do not exist; it has no derivative itself.
    """

    @functools.wraps(backward)
    def guarded(ctx: Any, *errors: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise ValueError(
                "create_graph=True: spikes have no second derivatives; leave gradient penalties and the like out"
            )
        return backward(ctx, *errors)

    return guarded
