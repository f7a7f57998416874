"""What the fuzz targets share: a folder in memory, and the rule that a UserError is a proper answer."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

from app.errors import UserError

IN_MEMORY = Path("/dev/shm")


def fuzz(use, seeds):
    """Feed ``use(content, folder)`` what atheris makes of seeds and corpus; anything but UserError is a finding.

    Args:
        use: reads the content, given a folder for its file.
        seeds: proper contents, which are put into the corpus (the first folder among the arguments).
    """
    corpus = next((Path(argument) for argument in sys.argv[1:] if Path(argument).is_dir()), None)
    for number, seed in enumerate(seeds if corpus else ()):
        (corpus / f"seed{number}").write_bytes(seed)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:

        def target(content):
            with suppress(UserError):
                use(content, Path(folder))

        atheris.Setup(sys.argv, target)
        atheris.Fuzz()
