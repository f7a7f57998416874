"""What a configuration chooses by name, and whose settings its groups hold."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from ..callbacks.standard import CALLBACKS
from ..data.tasks import TASKS
from ..engines import AUTO, ENGINES
from ..errors import UserError
from ..losses import LOSSES
from ..names import share_names
from ..neuron.models import NEURONS
from ..neuron.surrogate import SURROGATES
from ..readout import READOUTS
from ..registry import Registry
from ..rules import RULES
from ..settings import key_of, settings_of


class Slot(NamedTuple):
    """A key whose value names a component.

    Args:
        key: the dotted key.
        group: the group of keys in which the settings of the components stand; empty if they have none.
        registry: what may be named.
        others: values besides the names.
    """

    key: str
    group: str
    registry: Registry[Any]
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All values."""
        return (*self.others, *self.registry)


SLOTS = {
    slot.key: slot
    for slot in (
        Slot("task", "data", TASKS),
        Slot("neuron.model", "neuron", NEURONS),
        Slot("rule", "learning", RULES),
        Slot("learning.surrogate", "learning", SURROGATES),
        Slot("loss", "objective", LOSSES),
        Slot("readout", "", READOUTS),
        Slot("engine", "", ENGINES, (AUTO,)),
        Slot("callbacks", "probes", CALLBACKS),
    )
}
"""All of them, by key."""


class Setting(NamedTuple):
    """A setting of a component.

    Args:
        slot: where the component is chosen.
        component: its name.
        key: the setting's dotted key.
        hint: its type; of a component inside the component, where that is chosen.
        default: its default; of a component inside, the name.
        meaning: one line.
        bounds: limits of its value.
        is_standard: whether every run has the component.
    """

    slot: Slot
    component: str
    key: str
    hint: Any
    default: Any
    meaning: str
    bounds: dict[str, float]
    is_standard: bool


def owned_settings() -> Iterator[Setting]:
    """The settings of all components that are known now."""
    for slot in SLOTS.values():
        for name, component in slot.registry.items():
            if slot.group:
                yield from _settings(slot, name, component)


def _settings(slot: Slot, name: str, component: Any) -> Iterator[Setting]:
    hints = get_type_hints(component)
    for one in settings_of(component):
        key, about = f"{slot.group}.{key_of(one)}", one.metadata
        hint, default = hints[one.name], getattr(component(), one.name)
        if key in SLOTS:
            hint, default = SLOTS[key], SLOTS[key].registry.name_of(type(default))
        yield Setting(
            slot, name, key, hint, default, about["help"], about["bounds"], getattr(component, "is_standard", False)
        )


_loaded: dict[Path | str, ModuleType] = {}
"""Plugins that this process has imported, by their resolved path or module name."""


def load_plugins(plugins: Iterable[str]) -> None:
    """Import files or modules, which register what they bring; what was imported before is left as it is.

    Raises:
        UserError: there is no such file or module, or importing it fails.
    """
    share_names()
    for plugin in plugins:
        path = Path(plugin).expanduser()
        where = path.resolve() if plugin.endswith(".py") else plugin
        if where in _loaded:
            continue
        before = [(slot.registry, set(slot.registry)) for slot in SLOTS.values()]
        try:
            _loaded[where] = _import_file(where, plugin) if isinstance(where, Path) else import_module(plugin)
        except Exception as error:
            for registry, names in before:
                for name in set(registry) - names:
                    registry.remove(name)
            raise UserError(f"plugins={plugin} cannot be imported: {_where(error, where)}") from error


def _import_file(path: Path, plugin: str) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no such file; it is looked for in {Path.cwd()}")
    name = "plugin_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _where(error: Exception, plugin: Path | str) -> str:
    """What went wrong, and the last line of the plugin that had a part in it."""
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(plugin):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    place = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{place}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def not_loaded(plugins: Iterable[str]) -> list[str]:
    """Those that this process has not imported, wherever their files lie now."""
    known = {Path(str(where)).stem for where in _loaded}
    return [plugin for plugin in plugins if Path(plugin).stem not in known]


def make(slot: Slot, name: str, group: Any) -> Any:
    """The component of a name with the settings of a group.

    Args:
        slot: where it is chosen.
        name: its name.
        group: an object whose attributes are the settings. None stands for the component's own default where it is no
            value of the setting.

    Raises:
        UserError: a value that the component refuses.
    """
    component, values = slot.registry[name], {}
    hints = get_type_hints(component)
    for one in settings_of(component):
        key, value = f"{slot.group}.{key_of(one)}", getattr(group, key_of(one))
        if key in SLOTS:
            values[one.name] = make(SLOTS[key], value, group)
        elif value is not None or NoneType in get_args(hints[one.name]):
            values[one.name] = value
    try:
        return component(**values)
    except UserError:
        raise
    except ValueError as error:
        argument, equals, rest = str(error).partition("=")
        key = next((key_of(one) for one in settings_of(component) if one.name == argument), argument)
        raise UserError(f"{slot.group}.{key}{equals}{rest}") from None


def chosen_names(config: Any) -> Mapping[str, list[str]]:
    """The names of the components that a configuration chooses, by the key that chooses them."""
    standards = [name for name, component in CALLBACKS.items() if component.is_standard]
    found = {}
    for key in SLOTS:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        found[key] = [*standards, *value] if key == "callbacks" else [value]
    return found
