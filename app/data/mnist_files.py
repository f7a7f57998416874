"""Finding the four files of MNIST, or downloading them."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .base import Split

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
STEMS: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
TIMEOUT_S = 30


def find_files(root: Path, split: Split) -> tuple[Path, Path] | None:
    """The image and the label file of a split that lie in the same folder, or None."""
    for folder in (root / "MNIST" / "raw", root / "raw", root):
        images, labels = (_find(folder, stem) for stem in STEMS[split])
        if images and labels:
            return images, labels
    return None


def download_files(root: Path, split: Split) -> None:
    """Put the missing files of a split into ``root/MNIST/raw``, from the first mirror that delivers them intact.

    Raises:
        UserError: if no mirror does.
    """
    folder = root / "MNIST" / "raw"
    for stem in STEMS[split]:
        if _find(folder, stem) is None:
            _download(folder, f"{stem}.gz")


def _find(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def _download(folder: Path, name: str) -> None:
    import pooch
    from requests import RequestException

    reasons = []
    for mirror in MIRRORS:
        try:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
            pooch.retrieve(mirror + name, f"md5:{MD5[name]}", fname=name, path=folder, downloader=downloader)
            return
        except (RequestException, OSError, ValueError) as error:
            reasons.append(f"{mirror}: {type(error).__name__}")
    raise UserError(
        f"MNIST is not in data.root = {folder.parents[1]} and {name} cannot be downloaded ({'; '.join(reasons)}): "
        f"put the four files ({', '.join(MD5)}) into {folder} or set data.root to the folder that has them."
    )
