"""Settings as users give them: ``key=value`` arguments and YAML files that may build on one another.

Values come out as layers of dotted keys; :mod:`app.config` checks keys and types.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import UserError
from .check import has_control
from .help import HELP_ALL
from .schema import keys, sections

COMMAND_LINE = "the command line"
BASE = "_base_"
PRINT_CONFIG = "--print-config"
FLAGS = ("--help", "-h", HELP_ALL, PRINT_CONFIG)


class Layer(NamedTuple):
    """Settings of one source by dotted key, not yet checked."""

    source: str
    values: dict[str, Any]


def parse_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """``key=value`` arguments as a mapping from dotted key to value; a leading ``--`` is dropped."""
    values: dict[str, Any] = {}
    for argument in argv:
        name, value = _split(argument)
        if name in values:
            raise UserError(f"{name} is given twice on {COMMAND_LINE}: leave one of them out")
        values[name] = _parse_value(name, value)
    return dict(flatten(values))


def _split(argument: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in argument.removeprefix("--").partition("="))
    if has_control(argument):
        raise UserError(f"argument {brief(argument)} holds a control character: write it without")
    if not name or not equals:
        close = [f"{argument}=VALUE"] if name in keys() else get_close_matches(argument.replace("_", "-"), FLAGS, 1)
        raise UserError(
            f"expected key=value, got {brief(argument)}{did_you_mean(close) or f'; {HELP_ALL} lists all keys'}"
        )
    if not value:
        or_null = f" or {name}=null" if name in keys() and keys()[name].is_nullable else ""
        raise UserError(f"{brief(name)} has an empty value: write {name}=VALUE{or_null}")
    return name, value


def _parse_value(name: str, text: str) -> Any:
    key = keys().get(name)
    if text in ("null", "~"):
        return None
    if (key and key.is_text) or not (key or name in sections()):
        return text
    try:
        if key and key.is_texts:
            return yaml.load(text, yaml.BaseLoader)
        content: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"x={text}"]))
        return content["x"]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError):
        return text


def find_file(name: str, configs: Path) -> Path:
    """The YAML file that ``config=name`` means: one in ``configs``, with or without ``.yaml``, or a path."""
    paths = (configs / f"{name}.yaml", configs / name, Path(name))
    for path in paths:
        if _is(Path.is_file, path):
            return path
    if any(_is(Path.is_dir, path) for path in paths):
        raise UserError(f"config={name} is a folder: give a YAML file in it")
    raise UserError(f"config={brief(name)} is neither in {_shown(configs)} nor a file{_available(name, configs)}")


def _available(name: str, folder: Path) -> str:
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    close = get_close_matches(Path(name).stem, names, 1)
    return f"{did_you_mean(close) or ';'} available: {', '.join(names) or 'none'}"


def did_you_mean(close: Sequence[str]) -> str:
    """The end of a message: what may have been meant; empty if there is nothing close."""
    return f", did you mean {' or '.join(map(repr, close))}?" if close else ""


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):
        return False


def _shown(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read_layers(path: Path, trail: tuple[Path, ...] = ()) -> list[Layer]:
    """The settings of a file after those of the files that it builds on (``_base_``).

    Args:
        path: the file.
        trail: the files that led here.
    """
    path, source = path.resolve(), _shown(path)
    if path in trail:
        raise UserError(f"{source} builds on itself: {' -> '.join(map(_shown, (*trail, path)))}; remove a {BASE}")
    values = _read_yaml(path, source)
    base = values.pop(BASE, None)
    if "config" in values:
        raise UserError(f"{source}: config= belongs on {COMMAND_LINE}; write '{BASE}: other' to build on another file")
    layers = [] if base is None else read_layers(_base_file(path, base, source), (*trail, path))
    return [*layers, Layer(source, dict(flatten(values)))]


def _base_file(path: Path, base: Any, source: str) -> Path:
    if not isinstance(base, str):
        raise UserError(f"{source}: {BASE} takes the name of one file, got {brief(base)}")
    for found in (path.parent / f"{base}.yaml", path.parent / base):
        if _is(Path.is_file, found):
            return found
    raise UserError(f"{source}: {BASE}: {base} is not in the same folder{_available(base, path.parent)}")


def _read_yaml(path: Path, source: str) -> dict[Any, Any]:
    text = _read_text(path, source)
    try:
        values = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{source} is not valid YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not valid YAML: {first_line(error)}") from None
    except (OSError, AssertionError):  # OmegaConf's answers to a number and to quoted text in the place of settings
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{source} does not hold settings: write lines such as 'task: mnist'")
    return values


def _read_text(path: Path, source: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{source} is not text in UTF-8: give a YAML file") from None
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error.strerror or error}") from None


def flatten(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted keys and values; what is not a known group of keys stays as it is."""
    for part, value in values.items():
        name = f"{prefix}{part}"
        if isinstance(value, Mapping) and name in sections():
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def asks_outside(value: Any) -> bool:
    """Whether text, or an item of a list of it, has a ``${resolver:…}``, which would read more than other settings.

    What such a reference reads, ``${oc.env:…}`` for one, may be a secret, and every setting is stored with the run: in
    ``config.yaml``, in the checkpoints, by the tracker.
    """
    if isinstance(value, list):
        return any(map(asks_outside, value))
    depth = 0
    for mark in re.findall(r"\$\{|\}|:", value) if isinstance(value, str) else ():
        if mark == ":" and depth:
            return True
        depth += {"${": 1, "}": -(depth > 0), ":": 0}[mark]
    return False


def first_line(error: Exception) -> str:
    """The first line of an error's message, cut to 160 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def brief(value: Any) -> str:
    """A value for a message, cut to 60 characters."""
    try:
        text = "null" if value is None else repr(value)
    except (ValueError, RecursionError):
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
