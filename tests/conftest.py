"""What several test files need."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same every time", derandomize=True)
settings.load_profile("same every time")  # what is new is looked for by python -m reliability inputs


@pytest.fixture
def shared_dir() -> Path:
    """The folder with real data and golden files; a test that uses it carries ``@pytest.mark.shared``."""
    folder = os.environ.get("ANTLR_SNN_SHARED", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ANTLR_SNN_SHARED does not name an existing folder")
    return Path(folder)
