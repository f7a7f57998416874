"""Types are checked, strictly: in the modules named here, which only grow in number."""

import subprocess
import sys

import pytest

from tests.support import ROOT

CHECKED = [
    *("app/equations.py", "app/network.py", "app/readout.py", "app/registry.py", "app/seeds.py", "app/settings.py"),
    *("app/errors.py", "app/best.py", "app/markdown.py", "app/colours.py", "app/losses", "app/neuron", "app/rules"),
    *("app/layers/spec.py", "app/layers/delays.py"),
    *("app/engines/compiled_rule.py", "app/engines/engine.py", "app/engines/rule_structure.py"),
]


@pytest.mark.slow
def test_types_are_right():
    pytest.importorskip("mypy", reason="mypy is not installed; see requirements-dev.txt")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *CHECKED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
