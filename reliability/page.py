"""What the commands of this package share: their arguments, and their sections of docs/RELIABILITY.md.

A section stands between ``<!-- selftest NAME -->`` and ``<!-- end -->``; the command NAME replaces what is in it.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from app.errors import UserError
from app.files import replacing
from app.version import code_version

PAGE = Path(__file__).resolve().parents[2] / "docs/RELIABILITY.md"
END = "<!-- end -->"


class Parser(ArgumentParser):
    """Arguments of a test, with ``--write``; whatever is wrong with them is a UserError.

    Args:
        test: its name.
        about: the docstring of its module.
    """

    def __init__(self, test: str, about: str | None) -> None:
        super().__init__(f"python -m reliability {test}", description=about)
        self.add_argument("--write", action="store_true", help=f"put the result into docs/{PAGE.name}")

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UserError(f"{message}; --help shows how to call {self.prog.removeprefix('python -m ')}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def write_section(name: str, command: str, body: str, page: Path = PAGE) -> None:
    """Replace a section of the page by the command, the version of the code, and what it found.

    Args:
        name: of the section.
        command: what was called, after ``python -m reliability``.
        body: Markdown.
        page: the file.

    Raises:
        UserError: the page has no such section.
    """
    begin, text = f"<!-- selftest {name} -->", page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise UserError(f"{page} has no section {begin} … {END}; add these two lines where the result belongs")
    body = f"`python -m reliability {command}`, code {code_version()}:\n\n{body.strip()}"
    with replacing(page, encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{body}\n{END}{after}")
