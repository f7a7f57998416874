"""Types are checked, strictly; pyproject.toml says where and how."""

import subprocess
import sys

import pytest

from tests.support import ROOT


@pytest.mark.slow
def test_types_are_right():
    pytest.importorskip("mypy", reason="mypy is not installed; see requirements-dev.txt")
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
