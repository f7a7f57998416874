"""Files that are either the old one or the new one, never half of one, even when the process or the power fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PARTIAL = ".part"


@contextmanager
def replacing(path: Path, mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    """A file to write that takes the place of ``path`` when the block ends without an error.

    Args:
        path: the file to be made or replaced; its folder exists.
        mode: how it is opened.
        **options: as for ``open``.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    if "b" not in mode:
        options = {"encoding": "utf-8", **options}
    try:
        with naming(path), partial.open(mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError in the block that names no file, as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make renamed files in a folder safe against power failure, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:  # network file systems may not support it
        pass
    finally:
        os.close(handle)
