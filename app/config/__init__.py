"""Typed configuration: dataclass defaults, then a YAML file (which may build on another), then ``key=value`` arguments.

    config = load_config(["task=mnist", "optim.lr=1e-4"])

:mod:`app.config.schema` declares the keys, :mod:`app.config.check` fills in what depends on task and rule and refuses
what cannot work. Everything a user can get wrong is answered by a :class:`~app.errors.UserError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from ..arguments import wants_help
from ..errors import UserError
from .check import complete, fill_choices
from .components import SLOTS, load_plugins, not_loaded
from .environment import tracking_mode
from .groups import Config
from .help import HELP_ALL, command_help, help_text, short_help
from .read import (
    COMMAND_LINE,
    PRINT_CONFIG,
    Layer,
    asks_outside,
    brief,
    did_you_mean,
    find_file,
    first_line,
    flatten,
    parse_arguments,
    read_layers,
)
from .schema import Key, config_type, keys, misplaced, sections

__all__ = [
    "CONFIGS",
    "Config",
    "command_help",
    "from_dict",
    "help_text",
    "import_plugins",
    "info_text",
    "load_config",
    "parse_arguments",
    "short_help",
    "to_dict",
    "to_yaml",
]

PACKAGE = Path(__file__).resolve().parents[1]
CONFIGS = next(folder / "configs" for folder in (PACKAGE, PACKAGE.parent) if (folder / "configs").is_dir())
"""In the installed package; in a checkout beside it."""
ENVIRONMENT = "WANDB_MODE in the environment"
CHOICES = ("loss", "readout", "time_steps", "network")
"""Keys whose null is filled in before ``${...}`` is resolved, so that ``out: runs/${loss}`` never reads null."""


def load_config(argv: Sequence[str], configs: Path = CONFIGS) -> Config:
    """The configuration of a run, complete and checked.

    Args:
        argv: ``key=value`` arguments; ``config=`` names the file.
        configs: folder in which ``config=NAME`` and the default files ``<task>_<rule>.yaml`` are looked up.

    Raises:
        UserError: names the key or file and the remedy.
    """
    return _load(argv, configs)[0]


def from_dict(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """The configuration that :func:`to_dict` once wrote, e.g. into a checkpoint, changed by ``key=value`` arguments."""
    arguments = _arguments(overrides)
    if "config" in arguments:
        raise UserError("config= cannot be combined with a checkpoint, which holds its own settings; leave it out")
    _refuse_plugins(values.get("plugins"), "the checkpoint")
    stored = {name: value for name, value in flatten(values) if name != "config"}
    for name, value in stored.items():
        if any("${" in item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)):
            raise UserError(f"the checkpoint: {name} holds a reference '${{…}}', which no run of this project stores")
    command_line = Layer(COMMAND_LINE, arguments)
    config = _build(
        [Layer("the checkpoint", stored), Layer(ENVIRONMENT, tracking_mode()), command_line], [command_line]
    )
    config.config = values.get("config")
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain containers, as for a checkpoint or a tracker."""
    return asdict(config)


def to_yaml(config: Config) -> str:
    """A YAML file that, given as ``config=PATH``, makes an equal configuration."""
    values = to_dict(config)
    del values["config"]
    return OmegaConf.to_yaml(OmegaConf.create(values))


def info_text(argv: Sequence[str], configs: Path = CONFIGS) -> str | None:
    """What ``--help``, ``--help-all`` or ``--print-config``, anywhere among them, prints; None if none is there."""
    if wants_help(argv):
        import_plugins(argv)
        return help_text() if HELP_ALL in argv else short_help()
    if PRINT_CONFIG not in argv:
        return None
    config, layers = _load([argument for argument in argv if argument != PRINT_CONFIG], configs)
    files = [layer.source for layer in reversed(layers) if layer.source != COMMAND_LINE]
    return f"# {', based on '.join(files) or 'no file, defaults in code'}; then {COMMAND_LINE}\n{to_yaml(config)}"


def _load(argv: Sequence[str], configs: Path) -> tuple[Config, list[Layer]]:
    arguments = _arguments(argv)
    given = arguments.pop("config", None)
    path = find_file(given, configs) if given else _default_file(Layer(COMMAND_LINE, arguments), configs)
    files = read_layers(path) if path else []
    for file in files:
        _load_plugins_of(file, is_overridden="plugins" in arguments)
    command_line = Layer(COMMAND_LINE, {name: value for name, value in _arguments(argv).items() if name != "config"})
    config = _build([*files, Layer(ENVIRONMENT, tracking_mode()), command_line], _strict([*files, command_line]))
    config.config = given or (path.stem if path else None)
    return config, [*files, command_line]


def import_plugins(argv: Sequence[str]) -> None:
    """Import what ``plugins=`` among the arguments names.

    Raises:
        UserError: it cannot be imported.
    """
    load_plugins(_named_plugins(argv))


def _arguments(argv: Sequence[str]) -> dict[str, Any]:
    """The arguments as the components of all plugins among them understand them."""
    import_plugins(argv)
    return parse_arguments(argv)


def _named_plugins(argv: Sequence[str]) -> list[str]:
    """The value of ``plugins=`` on the command line."""
    own = [argument for argument in argv if argument.removeprefix("--").partition("=")[0].strip() == "plugins"]
    value = parse_arguments(own).get("plugins")
    return _texts("plugins", value, COMMAND_LINE)


def _texts(name: str, value: Any, source: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{source}: {name} expects list of text, got {brief(value)}{_list_hint(keys()[name], value)}")
    return value


def _load_plugins_of(file: Layer, is_overridden: bool) -> None:
    """Import what a file of settings names, unless it is the record of a run, which runs nothing by itself."""
    plugins = _texts("plugins", file.values.get("plugins"), file.source)
    if _is_record(file):
        _refuse_plugins(plugins, file.source)
    elif not is_overridden:
        load_plugins(plugins)


def _refuse_plugins(plugins: Any, source: str) -> None:
    """Refuse a record that needs code which the command line does not name: reading it runs none.

    Raises:
        UserError: names the argument to add.
    """
    if missing := not_loaded(_texts("plugins", plugins, source)):
        raise UserError(
            f"{source} was made with plugins=[{','.join(plugins)}], Python code that runs only if you name it; "
            f"if you trust it, add plugins=[{','.join(missing)}]"
        )


def _is_record(file: Layer) -> bool:
    """Whether a file holds every setting of a run, as the ``config.yaml`` of its folder does."""
    return {"task", "rule", "network", "out", "optim.lr", "trainer.max_epochs", "tracking.mode"} <= set(file.values)


def _strict(layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose settings must all have a meaning: the command line, and the file that it takes as it is.

    Files that a file builds on, and a file whose choice of components the command line changes, may hold more.
    """
    *files, command_line = layers
    if not files or _is_record(files[-1]) or set(SLOTS) & set(command_line.values):
        return [command_line]
    return [files[-1], command_line]


def _default_file(command_line: Layer, configs: Path) -> Path | None:
    chosen = _select(_tree([command_line]), ("task", "rule"))
    path = configs / f"{chosen.task}_{chosen.rule}.yaml"
    return path if path.is_file() else None


def _build(layers: Sequence[Layer], strict: Sequence[Layer]) -> Config:
    tree = _tree(layers)
    chosen = fill_choices(_select(tree, ("task", "rule", "data", *CHOICES)))
    for name in CHOICES:
        tree[name] = getattr(chosen, name)
    try:
        config = cast(Config, OmegaConf.to_object(tree))
    except (OmegaConfBaseException, RecursionError) as error:
        raise _unresolved(error) from None
    for layer in strict:
        for problem in misplaced(config, layer.values):
            raise UserError(f"{layer.source}: {problem}")
    return complete(config)


def _select(tree: DictConfig, names: Iterable[str]) -> Config:
    try:
        return config_type()(**{name: tree[name] for name in names})
    except (OmegaConfBaseException, RecursionError) as error:
        raise _unresolved(error) from None


def _unresolved(error: Exception) -> UserError:
    name = getattr(error, "full_key", None) or "a setting"
    return UserError(f"{name} refers to something that cannot be used: {first_line(error)}; write the value itself")


def _tree(layers: Sequence[Layer]) -> DictConfig:
    tree: DictConfig = OmegaConf.structured(config_type())
    for source, values in layers:
        for name, value in values.items():
            _put(tree, name, value, source)
    return tree


def _put(tree: DictConfig, name: str, value: Any, source: str) -> None:
    key = keys().get(name)
    if key is None:
        raise UserError(f"{source}: {_unknown(name, value)}")
    if asks_outside(value):
        raise UserError(
            f"{source}: {name}={brief(value)} asks for more than another setting, and what it gets would be stored "
            f"with the run; write the value itself, or {name}=$VARIABLE on the command line, which the shell fills in"
        )
    refusal = UserError(f"{source}: {name} expects {key.expected}, got {brief(value)}{_list_hint(key, value)}")
    if not _is_plain(key, value):
        raise refusal
    value = _present(name, value)
    try:
        OmegaConf.update(tree, name, value)
    except GrammarParseError:
        raise UserError(f"{source}: {name}={brief(value)} holds a malformed reference ${{...}}: mend it") from None
    except (OmegaConfBaseException, ValueError, TypeError, OverflowError):
        raise refusal from None


def _present(name: str, value: Any) -> Any:
    """A component under its present name, where a former one was given."""
    if name not in SLOTS or not isinstance(value, str) or value not in SLOTS[name].registry:
        return value
    registry = SLOTS[name].registry
    return registry.name_of(registry[value])


def _is_plain(key: Key, value: Any) -> bool:
    """Refuses what OmegaConf would let pass: 2 for true, [[1]] as a list of text, its own placeholder ???."""
    if isinstance(value, list):
        return all(isinstance(item, str | int | float) and item != "???" for item in value)
    if bool in key.choices and isinstance(value, int) and value not in (0, 1):
        return False
    return bool(value != "???")


def _list_hint(key: Key, value: Any) -> str:
    small = isinstance(value, int) and value.bit_length() <= 64  # Python refuses to write out a number of 4300 digits
    alone = "list" in key.type and (small or isinstance(value, str)) and "[" not in str(value)
    return f"; write {key.name}=[{str(value)[:60]}]" if alone else ""


def _unknown(name: str, value: Any) -> str:
    section, _, last = name.rpartition(".")
    if name in sections():
        return f"{name} is a group of keys ({_members(name)}) and cannot be {brief(value)}"
    close = _nearest(name, last)
    hint = f"; {section} has {_members(section)}" if section in sections() else f"; {HELP_ALL} lists all keys"
    return f"unknown key {brief(name)}{did_you_mean(close) or hint}"


def _members(section: str) -> str:
    return ", ".join(known for known in keys() if known.startswith(f"{section}."))


def _nearest(name: str, last: str) -> list[str]:
    lasts: dict[str, list[str]] = {}
    for known in keys():
        lasts.setdefault(known.rpartition(".")[2], []).append(known)
    close = lasts.get(last) or get_close_matches(name, [*keys(), *sections()], 1, 0.7)
    return close or [known for match in get_close_matches(last, lasts, 1, 0.7) for known in lasts[match]]
