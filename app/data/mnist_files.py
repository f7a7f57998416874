"""The four files of MNIST, or of a data set in its format: finding them under the names in use, downloading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .task import Split

PREFIXES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}
IMAGES, LABELS = "images", "labels"
DIMENSIONS = {IMAGES: 3, LABELS: 1}
TIMEOUT_S = 30


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Args:
        name: as people call it.
        folder: its folder below ``data.root``; torchvision's layout.
        mirrors: addresses that end before the file's name.
        md5: of each compressed file.
        families: file names may begin with these and a hyphen, such as ``emnist-letters``.
    """

    name: str
    folder: str
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    families: tuple[str, ...] = ()


MNIST_SOURCE = Source(
    "MNIST",
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    tuple(f"emnist-{part}" for part in ("letters", "digits", "balanced", "byclass", "bymerge", "mnist")),
)
FASHION_SOURCE = Source(
    "Fashion-MNIST",
    "FashionMNIST",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # its files are checked, whoever sends them
    ),
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)


def find_files(root: Path, split: Split, source: Source = MNIST_SOURCE) -> tuple[Path, Path] | None:
    """The image and the label file of a split that lie in the same folder and belong together, or None."""
    for folder in _folders(root, source):
        for prefix in _prefixes(split, source):
            images, labels = (_find(folder, prefix, part) for part in (IMAGES, LABELS))
            if images and labels:
                return images, labels
    return None


def find_labels(root: Path, split: Split, source: Source = MNIST_SOURCE) -> Path | None:
    """The label file of a split, or None."""
    found = find_files(root, split, source)
    return found and found[1]


def download_files(root: Path, split: Split, source: Source = MNIST_SOURCE) -> None:
    """Put the missing files of a split into the first folder, from the first mirror that delivers them intact.

    Raises:
        UserError: if no mirror does.
    """
    folder, prefix = _folders(root, source)[0], PREFIXES[split][0]
    for part in (IMAGES, LABELS):
        if _find(folder, prefix, part) is None:
            _download(folder, f"{prefix}-{part}-idx{DIMENSIONS[part]}-ubyte.gz", source)


def _folders(root: Path, source: Source) -> tuple[Path, ...]:
    return root / source.folder / "raw", root / "raw", root


def _prefixes(split: Split, source: Source) -> list[str]:
    return [f"{family}{prefix}" for family in ("", *(f"{f}-" for f in source.families)) for prefix in PREFIXES[split]]


def _find(folder: Path, prefix: str, part: str) -> Path | None:
    """One file under the name of the original, with a point in it as some archives have, plain or compressed."""
    names = [f"{prefix}-{part}{mark}idx{DIMENSIONS[part]}-ubyte" for mark in ("-", ".")]
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _download(folder: Path, name: str, source: Source) -> None:
    import pooch
    from requests import RequestException

    reasons = []
    for mirror in source.mirrors:
        try:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
            pooch.retrieve(mirror + name, f"md5:{source.md5[name]}", fname=name, path=folder, downloader=downloader)
            return
        except (RequestException, OSError, ValueError) as error:
            reasons.append(f"{mirror}: {type(error).__name__}")
    raise UserError(
        f"{source.name} is not in data.root = {folder.parents[1]} and {name} cannot be downloaded "
        f"({'; '.join(reasons)}): put the four files ({', '.join(source.md5)}) into {folder} or set data.root to the "
        "folder that has them."
    )
