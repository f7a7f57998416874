"""The package has two names, ``app`` in a checkout and ``antlr_snn`` where it is installed; both mean the running one.

A plugin that imports from the other name would load a second copy of everything, and register what it brings there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType

NAMES = ("app", "antlr_snn")
RUNNING = __package__ or NAMES[0]


class _OtherName:
    """Finds modules of this package under its other name, and gives the running ones."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """For ``import``: this name and what is below it."""
        return spec_from_loader(name, self) if f"{name}.".startswith(f"{self.name}.") else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """None: the import system makes an empty one, which does not last."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the running module in its place."""
        sys.modules[module.__name__] = import_module(RUNNING + module.__name__.removeprefix(self.name))


def share_names() -> None:
    """Let the package's other name mean the running package, unless it is the name of something else."""
    for name in NAMES:
        known = any(isinstance(finder, _OtherName) for finder in sys.meta_path)
        if name != RUNNING and name not in sys.modules and not known and not _is_foreign(name):
            sys.meta_path.insert(0, _OtherName(name))


def _is_foreign(name: str) -> bool:
    """Whether what would be imported under a name is no copy of this package."""
    spec = PathFinder.find_spec(name)
    if spec is None:
        return False
    copy = Path(next(iter(spec.submodule_search_locations or ()), "")) / Path(__file__).name
    return not copy.is_file()
