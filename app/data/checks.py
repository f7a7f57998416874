"""Range checks of the data modules' arguments: each answer names the key and the remedy."""

from __future__ import annotations

from ..errors import UserError


def check_range(key: str, value: int, smallest: int, largest: int | None = None) -> None:
    """Refuse a number outside ``smallest..largest``."""
    if value < smallest:
        raise UserError(f"{key} = {value} is too small: set it to at least {smallest}.")
    if largest is not None and value > largest:
        raise UserError(f"{key} = {value} is too large: set it to at most {largest}.")


def check_rate(key: str, rate: float) -> None:
    """Refuse what is not a probability above 0."""
    if not 0 < rate <= 1:
        raise UserError(f"{key} = {rate} is not a probability per step: set it above 0 and at most to 1.")
