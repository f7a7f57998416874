"""``app`` and ``antlr_snn`` are one package, whichever of the two runs, and the names for a notebook are all there."""

import subprocess
import sys

import pytest

import app
from app.losses import LOSSES
from app.rules import RULES
from tests.support import ROOT

SCRIPT = """
import {package}, sys
from {package}.config import load_config
from {package}.rules import RULES, Rule
plugin = sys.argv[1]
print(load_config([f"plugins=[{{plugin}}]", "rule=own", "loss=count"]).rule)
assert issubclass(RULES["own"], Rule)
copies = [name for name, module in sys.modules.items() if name.startswith(("app.", "antlr_snn."))]
assert all(sys.modules[name].__name__.startswith("{package}") for name in copies), copies
"""
RULE = """
from dataclasses import dataclass
from {package} import Rule
from {package}.rules import RULES


@RULES.register("own")
@dataclass(frozen=True)
class Own(Rule):
    @staticmethod
    def membrane_error(error_S):
        return error_S
"""


@pytest.fixture
def installed(tmp_path):
    """A place in which the package lies under the name that it is installed by."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "antlr_snn").symlink_to(ROOT / "app")
    return place


def ran(running, written_for, path, cwd):
    """What a process says in which the package runs under one name, with a plugin that was written for the other."""
    (cwd / "own.py").write_text(RULE.format(package=written_for))
    code = f"import sys; sys.path[:] = {path!r} + [p for p in sys.path if p]" + SCRIPT.format(package=running)
    return subprocess.run([sys.executable, "-c", code, "own.py"], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("beside", [True, False], ids=["a checkout beside it", "alone"])
def test_a_plugin_of_a_checkout_registers_with_the_installed_package(installed, beside, tmp_path):
    ended = ran("antlr_snn", "app", [str(installed), *([str(ROOT)] if beside else [])], tmp_path)
    assert (ended.stdout, ended.returncode) == ("own\n", 0), ended.stderr


@pytest.mark.slow
def test_a_plugin_of_the_installed_package_registers_with_a_checkout(installed, tmp_path):
    ended = ran("app", "antlr_snn", [str(ROOT), str(installed)], tmp_path)
    assert (ended.stdout, ended.returncode) == ("own\n", 0), ended.stderr


@pytest.mark.slow
def test_another_package_called_app_stays_what_it_is(installed, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").write_text("from antlr_snn import Rule\nmine = 1")
    (tmp_path / "app/rules.py").write_text("from antlr_snn.rules import RULES")
    ended = ran("antlr_snn", "app", [str(installed), str(tmp_path)], tmp_path)
    assert ended.stdout == "own\n", ended.stderr


def test_a_notebook_has_all_rules_and_losses():
    assert {app.RULES.name_of(getattr(app, name)) for name in RULES} == {*RULES}
    assert {f"{name}_loss" for name in LOSSES} <= {*app.__all__}
    for name in app.__all__:
        assert getattr(app, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'ruels'; it has"):
        _ = app.ruels
