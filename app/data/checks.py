"""Range checks of the data modules' arguments: each answer names the key and the remedy."""

from __future__ import annotations

from ..errors import UserError


def check_range(key: str, value: int, smallest: int, largest: int | None = None) -> None:
    """Refuse a number outside ``smallest..largest``."""
    if value < smallest:
        raise UserError(f"{key} = {value} is too small: set it to at least {smallest}.")
    if largest is not None and value > largest:
        raise UserError(f"{key} = {value} is too large: set it to at most {largest}.")
