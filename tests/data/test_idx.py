import gzip
import tracemalloc

import numpy as np
import pytest

from app.data.idx import MOST_ITEMS, read_idx
from app.errors import UserError
from tests.support.synthetic import idx_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28)).astype(np.uint8)


def header(*dimensions: int) -> bytes:
    return bytes([0, 0, 8, len(dimensions)]) + np.array(dimensions, ">u4").tobytes()


@pytest.mark.parametrize("compress", [False, True])
def test_reads_what_was_written(tmp_path, compress):
    path = tmp_path / ("images.gz" if compress else "images")
    path.write_bytes(gzip.compress(idx_bytes(IMAGES)) if compress else idx_bytes(IMAGES))
    assert np.array_equal(read_idx(path, (28, 28)), IMAGES)


HOSTILE = {
    "empty": b"",
    "short magic": b"\0\0",
    "wrong magic": b"\0\0\x0d\x03" + idx_bytes(IMAGES)[4:],
    "labels for images": idx_bytes(np.arange(7)),
    "half a header": header(7, 28, 28)[:9],
    "other image size": header(7, 32, 32) + bytes(7 * 1024),
    "no items": header(0, 28, 28),
    "one byte short": idx_bytes(IMAGES)[:-1],
    "one byte long": idx_bytes(IMAGES) + b"\0",
    "2 GB announced": header(2_738_000, 28, 28) + bytes(100),
    "most announced": header(2**32 - 1, 28, 28),
    "most allowed announced": header(MOST_ITEMS, 28, 28) + bytes(100),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_and_named(tmp_path, content, compress):
    path = tmp_path / ("bad.gz" if compress else "bad")
    path.write_bytes(gzip.compress(content) if compress else content)
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"{path}.*data\.root"):
        read_idx(path, (28, 28))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


@pytest.mark.parametrize("cut", [5, 40, -4])
def test_truncated_gzip_is_refused(tmp_path, cut):
    path = tmp_path / "bad.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:cut])
    with pytest.raises(UserError, match=str(path)):
        read_idx(path, (28, 28))


def test_flipped_byte_in_gzip_is_refused(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(IMAGES)))
    content[len(content) // 2] ^= 1
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        read_idx(path, (28, 28))


def test_no_gzip_at_all(tmp_path):
    path = tmp_path / "bad.gz"
    path.write_bytes(idx_bytes(IMAGES))
    with pytest.raises(UserError, match=str(path)):
        read_idx(path, (28, 28))


@pytest.mark.parametrize(("announced", "reason"), [(7, "exactly the 7 items"), (2_738_000, "announces 2738000 items")])
def test_compressed_bomb_is_not_unpacked(tmp_path, announced, reason):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header(announced, 28, 28))
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(UserError, match=reason):
        read_idx(path, (28, 28))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
