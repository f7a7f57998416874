"""Finding the recordings of N-MNIST, or downloading and unpacking them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import tempfile
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .task import Split

FOLDERS: dict[Split, str] = {"train": "Train", "test": "Test"}
LABELS = {str(label) for label in range(10)}
TIMEOUT_S = 60.0
MOST_UNPACKED_BYTES = 2**32
"""Several times the training split. A member never unpacks to more than the archive says."""


class Recording(NamedTuple):
    """One file of the data set."""

    path: Path
    label: int
    size: int
    mtime_ns: int


def find_folder(root: Path, split: Split) -> Path | None:
    """The folder of a split, or None."""
    candidates = (root / FOLDERS[split], root / "NMNIST" / FOLDERS[split])
    return next((folder for folder in candidates if folder.is_dir()), None)


def list_recordings(folder: Path) -> list[Recording]:
    """All recordings ``<label>/<index>.bin``, ordered by label and name.

    Hidden files, which file managers leave behind, are not recordings; anything else that does not belong is refused.

    Raises:
        UserError: naming what does not belong, or the folder if there is no recording.
    """
    recordings = []
    for label_entry in _visible(folder):
        if label_entry.name not in LABELS or not label_entry.is_dir():
            raise UserError(f"{label_entry.path} is not a label folder 0..9 of N-MNIST: move it out of data.root.")
        for entry in _visible(Path(label_entry.path)):
            if not re.fullmatch(r"\d+\.bin", entry.name) or not entry.is_file():
                raise UserError(f"{entry.path} is not an N-MNIST recording <index>.bin: move it out of data.root.")
            info = entry.stat()
            recordings.append(Recording(Path(entry.path), int(label_entry.name), info.st_size, info.st_mtime_ns))
    if not recordings:
        raise UserError(f"{folder} holds no recordings <label>/<index>.bin: delete it, or set data.root elsewhere.")
    return recordings


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def download_recordings(root: Path, split: Split) -> None:
    """Download the archive of a split into ``root/NMNIST`` (checked by tonic against its MD5) and unpack it there.

    Raises:
        UserError: if it cannot be had.
    """
    from tonic.datasets import NMNIST
    from tonic.download_utils import download_url

    url, name, md5 = (getattr(NMNIST, f"{split}_{field}") for field in ("url", "filename", "md5"))
    folder = root / "NMNIST"
    timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(TIMEOUT_S)
        download_url(url, str(folder), name, md5)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"N-MNIST is not in data.root = {root} and cannot be downloaded ({type(error).__name__}: {error}): set "
            f"data.root to the folder that holds its Train and Test folders, or put {url} as {folder / name}."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    unpack(folder / name, folder, FOLDERS[split])


def unpack(archive: Path, folder: Path, member: str) -> None:
    """Unpack an archive and move its folder ``member`` into ``folder``, in one step when all is there.

    Raises:
        UserError: if the archive is damaged, has not that folder, unpacks to more than ``MOST_UNPACKED_BYTES``, or has
            members that point out of it.
    """
    from pooch import Unzip

    scratch = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        with zipfile.ZipFile(archive) as content:
            _check_members(archive, content.infolist())
        Unzip([member], str(scratch.resolve()))(str(archive), "download", None)
        if not (scratch / member).is_dir():
            raise zipfile.BadZipFile(f"it has no folder {member}")
        os.replace(scratch / member, folder / member)
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"{archive} cannot be unpacked ({error}): make room and write access in {folder}, or delete it."
        ) from error
    except Exception as error:  # damaged bytes raise anything on their way through zipfile and zlib
        raise UserError(f"{archive} is not the N-MNIST archive ({error}): delete it to download it again.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    for info in members:
        parts = info.orig_filename.replace("\\", "/").split("/")
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if parts[0] == "" or parts[0].endswith(":") or ".." in parts or is_link:
            raise UserError(
                f"{archive} has a member that points out of its folder ({info.orig_filename!r}): delete it."
            )
    if (size := sum(info.file_size for info in members)) > MOST_UNPACKED_BYTES:
        raise UserError(f"{archive} would unpack to {size} bytes, more than N-MNIST can have: delete it.")
