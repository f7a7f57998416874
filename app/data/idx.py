"""A strict reader of IDX files (the format of MNIST), plain or gzip-compressed, that does not trust the header.

Format: magic 0, 0, 0x08 (unsigned bytes), number of dimensions; each dimension as big-endian uint32; the values.
Source: http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import UserError

MOST_ITEMS = 300_000
PIECE_BYTES = 2**20


def read_idx(path: Path, item_shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 values of shape [items, *item_shape].

    Never reads more than the header promises and one byte, and the promise is limited to ``MOST_ITEMS`` items, so
    neither a false header nor a compressed bomb exhausts memory.

    Args:
        path: the file; gzip-compressed if its name ends in ``.gz``.
        item_shape: the shape of an item, ``(28, 28)`` for images and ``()`` for labels.

    Raises:
        UserError: naming the file, if it is not exactly such a file.
    """
    try:
        with _open(path) as file:
            items = _read_header(path, file, item_shape)
            content = _read_at_most(file, items * prod(item_shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _bad_file(path, f"it cannot be read ({error})") from error
    if len(content) != items * prod(item_shape):
        raise _bad_file(path, f"it does not hold exactly the {items} items of shape {item_shape} that it announces")
    return np.frombuffer(content, np.uint8).reshape(items, *item_shape)


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _read_header(path: Path, file: BinaryIO, item_shape: tuple[int, ...]) -> int:
    """The number of items."""
    magic = file.read(4)
    if magic != bytes([0, 0, 8, 1 + len(item_shape)]):
        raise _bad_file(path, f"its magic number is {magic.hex() or 'missing'}")
    fields = file.read(4 * (1 + len(item_shape)))
    if len(fields) != 4 * (1 + len(item_shape)):
        raise _bad_file(path, "it ends inside its header")
    dimensions: list[int] = np.frombuffer(fields, ">u4").tolist()
    if tuple(dimensions[1:]) != item_shape:
        raise _bad_file(path, f"its dimensions are {dimensions}, not [items, {', '.join(map(str, item_shape))}]")
    if not 1 <= dimensions[0] <= MOST_ITEMS:
        raise _bad_file(path, f"it announces {dimensions[0]} items, not 1 to {MOST_ITEMS}")
    return dimensions[0]


def _read_at_most(file: BinaryIO, size: int) -> bytes:
    """Up to ``size`` bytes, piece by piece: memory grows with what is there, not with what was announced."""
    pieces: list[bytes] = []
    while size > 0 and (piece := file.read(min(size, PIECE_BYTES))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _bad_file(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is not a proper IDX file of MNIST: {reason}; "
        "delete it to have it downloaded again, or point data.root to a folder with good files."
    )
