"""The examples in the docstrings of ``app/`` run, and those that users meet first have one."""

import doctest
import importlib

import pytest

from tests.support import ROOT

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "app").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
HAVE_SOME = {
    *(f"app.losses.{name}" for name in ("count", "latency", "silent", "spike_cost", "spike_train", "targets")),
    *(f"app.neuron.{name}" for name in ("lif", "psp", "surrogate")),
    *(f"app.rules.{name}" for name in ("activation", "antlr", "bptc", "eventprop", "timing", "tssl_bp")),
    *("app.data.encoding", "app.metrics", "app.network", "app.readout"),
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed


def test_the_core_has_examples():
    assert set(MODULES) >= HAVE_SOME
