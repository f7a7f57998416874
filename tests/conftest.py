"""What several test files need."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_dir() -> Path:
    """The folder with real data and golden files; a test that uses it carries ``@pytest.mark.shared``."""
    folder = os.environ.get("ANTLR_SNN_SHARED", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ANTLR_SNN_SHARED does not name an existing folder")
    return Path(folder)
