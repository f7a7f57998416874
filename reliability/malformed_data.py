"""Malformed data files: IDX files, N-MNIST recordings and archives, as strategies, and what reading must give.

Each ``use_…`` writes an input into a folder and reads it with the project's reader. It raises UserError if the input is
refused; what is accepted is compared with an independent reading, and AssertionError says that they differ.
"""

from __future__ import annotations

import gzip
import stat
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from app.data.idx import read_idx
from app.data.nmnist_files import list_recordings, unpack
from app.data.nmnist_parsing import Binning, read_recording

Edit = tuple[str, int, bytes]


def damaged(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid content: as it is, with up to three edits, some of them near its beginning, or other bytes altogether."""
    place = st.integers(0, 64) | st.integers(0, 2**20)
    edit = st.tuples(st.sampled_from(["replace", "insert", "delete", "cut"]), place, st.binary(min_size=1, max_size=8))
    edited = st.builds(apply_edits, valid, st.lists(edit, min_size=1, max_size=3))
    return st.one_of(valid, valid, edited, edited, st.binary(max_size=100))


def apply_edits(content: bytes, edits: Sequence[Edit]) -> bytes:
    """The content after the edits, each (what, where modulo the length, bytes)."""
    for kind, place, piece in edits:
        place %= len(content) + 1
        after = place + (0 if kind == "insert" else len(piece))
        piece = piece if kind in ("replace", "insert") else b""
        content = content[:place] + piece + (b"" if kind == "cut" else content[after:])
    return content


class IdxFile(NamedTuple):
    """The content of an IDX file, and what is expected of it."""

    content: bytes
    item_shape: tuple[int, ...]
    compressed: bool


@st.composite
def idx_files(draw: st.DrawFn) -> IdxFile:
    """Images and labels, plain and compressed; headers lie, bytes are missing, added or changed."""
    item_shape = draw(st.sampled_from([(28, 28), ()]))
    sizes = st.sampled_from([0, 1, 2, 27, 28, 29, 300_000, 300_001, 2**31, 2**32 - 1])
    wrong = st.lists(sizes, max_size=4).map(tuple)
    shape = draw(st.one_of([st.integers(1, 3).map(lambda items: (items, *item_shape))] * 4 + [wrong]))
    header = bytes([0, 0, draw(st.sampled_from([8] * 15 + [9, 13])), len(shape)]) + np.array(shape, ">u4").tobytes()
    size = min(prod(shape), 3000) + draw(st.sampled_from([0] * 15 + [-1, 1, 100]))
    plain = st.just(header + (draw(st.binary(min_size=4, max_size=4)) * (size // 4 + 1))[: max(size, 0)])
    compressed = draw(st.booleans())
    content = damaged(plain.map(gzip.compress)) if compressed else damaged(plain)
    return IdxFile(draw(content), item_shape, compressed)


def use_idx(value: IdxFile, folder: Path) -> None:
    """Read an IDX file."""
    path = folder / ("input.gz" if value.compressed else "input")
    path.write_bytes(value.content)
    values = read_idx(path, value.item_shape)
    plain = gzip.decompress(value.content) if value.compressed else value.content
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    assert values.shape[1:] == value.item_shape
    assert plain == header + values.tobytes()


@st.composite
def recordings(draw: st.DrawFn) -> bytes:
    """Recordings with pixels at and over the edge, overflow marks, and times that jump; bytes missing or changed."""
    x, y = st.integers(0, 34), st.integers(0, 34) | st.sampled_from([33, 240, 239, 255])
    time = st.integers(0, 2**15) | st.integers(0, 2**23 - 1)
    rows = draw(st.lists(st.tuples(x, y, time, st.integers(0, 1)), max_size=20))
    if draw(st.booleans()):
        rows = sorted((row for row in rows if row[0] < 34 and (row[1] < 34 or row[1] == 240)), key=lambda row: row[2])
    return draw(damaged(st.just(recording_bytes(rows))))


def recording_bytes(rows: list[tuple[int, int, int, int]]) -> bytes:
    """Events (x, y, t in µs, polarity) in the format of N-MNIST."""
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for x, y, t, p in rows)


def parse_by_hand(content: bytes) -> list[tuple[int, int, int, int]]:
    """The events (x, y, t in µs, polarity) of a recording, byte by byte."""
    events, shift = [], 0
    for row in range(0, len(content), 5):
        x, y, high, middle, low = content[row : row + 5]
        if y == 240:
            shift += 2**13
        else:
            events.append((x, y, (high % 128) * 65536 + middle * 256 + low + shift, high // 128))
    return events


def use_recording(content: bytes, folder: Path) -> None:
    """Read a recording and put it into bins of 1 ms."""
    path = folder / "input.bin"
    path.write_bytes(content)
    events = read_recording(path)
    expected = parse_by_hand(content)
    assert events.tolist() == expected
    steps, inputs = Binning(300, 1000, first_event_only=False).spikes(events)
    spikes = {(t // 1000, p * 34 * 34 + y * 34 + x) for x, y, t, p in expected if t < 300_000}
    assert list(zip(steps.tolist(), inputs.tolist(), strict=True)) == sorted(spikes)


class Archive(NamedTuple):
    """Members of a zip archive (name, Unix mode), and edits of its bytes."""

    members: list[tuple[str, int]]
    edits: list[Edit]


PLACES = ["Train/0/1.bin", "Train/7/22.bin", "Train/", "Train/0/", "Test/0/1.bin", "Train", "x", "Train/0/1.bin/2.bin"]
PLACES += [
    "../evil",
    "/evil",
    "//evil",
    "Train/../../evil",
    "C:/evil",
    "..\\evil",
    "Train/0/\0.bin",
    "Train/" + "x" * 300,
]
MODES = [0o100644] * 9 + [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, 0]


def archives() -> st.SearchStrategy[Archive]:
    """Archives with members that point out of the folder, links, missing folders and changed bytes."""
    odd = st.lists(
        st.tuples(st.sampled_from(PLACES) | st.text(min_size=1, max_size=8), st.sampled_from(MODES)), max_size=6
    )
    good = st.lists(st.tuples(st.sampled_from(PLACES[:2]), st.just(0o100644)), min_size=1, max_size=2)
    members = st.builds(list.__add__, good, st.just([]) | odd)
    edit = st.tuples(st.sampled_from(["replace", "insert", "cut"]), st.integers(0, 2000), st.binary(max_size=4))
    return st.builds(Archive, members, st.just([]) | st.lists(edit, max_size=2))


def use_archive(value: Archive, folder: Path) -> None:
    """Unpack an archive; nothing may appear outside its folder, or stay there when it is refused."""
    target = folder / "input"
    target.mkdir()
    path = target / "train.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode in {zipfile.ZipInfo(name).filename: (name, mode) for name, mode in value.members}.values():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, recording_bytes([(1, 2, 3, 1)]))
    path.write_bytes(apply_edits(path.read_bytes(), value.edits))
    try:
        unpack(path, target, "Train")
    except Exception:
        assert list(target.iterdir()) == [path], "the archive was refused and something is left"
        raise
    assert not any(entry.is_symlink() for entry in target.rglob("*"))
    for recording in list_recordings(target / "Train"):
        assert recording.path.resolve().is_relative_to(target.resolve())
