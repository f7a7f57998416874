"""The one dialect of all commands: words, ``key=value`` (a leading ``--`` is dropped) and ``--flags``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os.path import exists

from .errors import UserError


@dataclass(frozen=True)
class Arguments:
    """What a command was told.

    Args:
        words: arguments that are neither of the others, such as folders.
        values: text by key.
        flags: those given, without ``--``.
    """

    words: list[str]
    values: dict[str, str]
    flags: frozenset[str]


def wants_help(argv: Sequence[str]) -> bool:
    """Whether ``--help``, ``-h`` or ``--help-all`` is among the arguments."""
    return bool({"--help", "-h", "--help-all"} & {*argv})


def read_arguments(
    argv: Sequence[str], *, keys: Iterable[str] | None = None, flags: Iterable[str] = (), words: str | None = None
) -> Arguments:
    """Sort the arguments of a command.

    Args:
        argv: the arguments.
        keys: those that the command knows; None for any.
        flags: those that it knows.
        words: what its words are, for example RUNS; None if it takes none. A word may hold ``=``, as folders do, unless
            what is before that is a key, or looks like one and there is no such file (``./a=b`` is none).

    Raises:
        UserError: an argument that the command does not know, or one given twice.
    """
    known, switches = None if keys is None else list(keys), list(flags)
    argv = _joined(argv, known or ())
    found = Arguments([], {}, frozenset(a[2:] for a in argv if a.startswith("--") and a[2:] in switches))
    for argument in argv:
        key, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and key in switches and not equals:
            continue
        if equals and value and key and (known is None or key in known):
            if key in found.values:
                raise UserError(f"{key} is given twice: leave one of them out")
            found.values[key] = value
        elif words and not argument.startswith("-") and not (equals and key.isidentifier() and not exists(argument)):
            found.words.append(argument)
        else:
            forms = [words, *(["key=value"] if known is None else [f"{k}=…" for k in known])]
            forms += [f"--{name}" for name in switches]
            raise UserError(f"expected {', '.join(filter(None, forms))}, got {argument!r}; --help explains them")
    return found


def _joined(argv: Sequence[str], known: Iterable[str]) -> list[str]:
    """``--key value`` and, where there is a key ``out``, ``-o FILE`` as one argument each."""
    joined: list[str] = []
    for argument in argv:
        before = joined[-1] if joined else ""
        if before.startswith("--") and before[2:] in known:
            joined[-1] = f"{before}={argument}"
        else:
            joined.append("--out" if argument == "-o" and "out" in known else argument)
    return joined
