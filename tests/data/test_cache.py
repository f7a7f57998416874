import os
import stat

import numpy as np
import pytest

from app.data import cache
from app.data.cache import cached_arrays
from app.errors import UserError
from tests.support.numbered import make_arrays


class Builder:
    """Counts how often the arrays are built."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return make_arrays()[0]


def same(left, right) -> bool:
    return all(np.array_equal(vars(left)[n], vars(right)[n]) for n in ("steps_E", "neurons_E", "offsets_S1", "label_S"))


def test_second_load_does_not_build(tmp_path):
    build, path = Builder(), tmp_path / "deep" / "cache"
    first = cached_arrays(path, build)
    second = cached_arrays(path, build)
    assert build.calls == 1
    assert same(first, make_arrays()[0])
    assert same(second, first)
    assert isinstance(second.neurons_E, np.memmap)
    assert not second.neurons_E.flags.writeable
    assert os.listdir(path.parent) == ["cache"], "no temporary file is left"


def test_no_events_at_all(tmp_path):
    arrays, _ = make_arrays(rate=0)
    assert same(cached_arrays(tmp_path / "cache", lambda: arrays), arrays)
    assert same(cached_arrays(tmp_path / "cache", pytest.fail), arrays)


def damage(content: bytes):
    """The same content in many ways damaged: a byte flipped at various places, cut, grown, other."""
    for place in (0, 7, 60, 129, len(content) // 2, len(content) - 5, len(content) - 1):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    for size in (0, 1, 3, 4, 100, len(content) - 1):
        yield content[:size]
    yield from (content + b"\0", bytes(4), bytes(3), bytes(1000), b"\x93NUMPY" + bytes(100))


def test_damaged_files_are_built_again(tmp_path, caplog):
    build, path = Builder(), tmp_path / "cache"
    cached_arrays(path, build)
    intact = path.read_bytes()
    for count, bad in enumerate(damage(intact), start=2):
        path.write_bytes(bad)
        assert same(cached_arrays(path, build), make_arrays()[0])
        assert build.calls == count
        assert path.read_bytes() == intact
    assert str(path) in caplog.text


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "cache"

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_arrays(path, Builder())
    assert os.listdir(tmp_path) == []


def test_unwritable_folder_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(UserError, match=rf"{blocked}.*data\.cache"):
        cached_arrays(blocked / "cache", Builder())


def test_others_may_read_the_cache(tmp_path):
    cached_arrays(tmp_path / "cache", Builder())
    mode = stat.S_IMODE((tmp_path / "cache").stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask
