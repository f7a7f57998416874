"""Tables in Markdown, and numbers of things in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers; no cell can end it or bring HTML into it."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def counted(number: int, what: str) -> str:
    """1 run, 2 runs."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def cell(text: str) -> str:
    """Text that stays within its cell or line."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())
