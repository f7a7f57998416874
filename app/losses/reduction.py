"""What a loss returns, in PyTorch's words."""

from __future__ import annotations

from typing import Literal

Reduction = Literal["mean", "none"]
"""``mean`` over the samples of the batch, or ``none``: the loss of each sample, [B]."""
