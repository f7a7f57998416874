import os
import urllib.error
import zipfile

import numpy as np
import pytest
import tonic.download_utils

from app.data.base import EventDataModule
from app.data.nmnist_files import download_recordings, list_recordings, unpack
from app.data.nmnist_parsing import LARGEST_FILE_BYTES, Binning, read_recording
from app.data.tasks import nmnist
from app.data.tasks.nmnist import NMNIST
from app.errors import UserError
from tests.support.synthetic import recording_bytes


def module(root, cache, **options):
    loading = {key: options.pop(key) for key in ("time_steps", "seed", "batch_size") if key in options}
    return EventDataModule(NMNIST(root, cache, **options), **loading)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(tonic.download_utils, "download_url", refuse)


def parse_by_hand(content: bytes, time_steps: int, bin_us: int, first_event_only: bool) -> list[tuple[int, int]]:
    """Byte by byte, independent of tonic and NumPy: (step, input) in order."""
    spikes = set()
    shift = 0
    for i in range(0, len(content), 5):
        x, y, high, middle, low = content[i : i + 5]
        if y == 240:
            shift += 8192
            continue
        time_us = (high % 128) * 65536 + middle * 256 + low + shift
        if time_us < time_steps * bin_us:
            spikes.add((time_us // bin_us, (high // 128) * 1156 + y * 34 + x))
    spikes = sorted(spikes)
    if first_event_only:
        seen = set()
        spikes = [(step, n) for step, n in spikes if not (n in seen or seen.add(n))]
    return spikes


def spikes_of(dataset, sample):
    events = dataset[sample].events
    return list(zip(events.steps_E.tolist(), events.neurons_E.tolist(), strict=True))


@pytest.mark.parametrize("first_event_only", [False, True])
@pytest.mark.parametrize(("time_steps", "duration_ms"), [(300, 300), (150, 300), (100, 50)])
def test_parsing_equals_the_independent_parser(make_nmnist, tmp_path, first_event_only, time_steps, duration_ms):
    root = make_nmnist()
    data = module(
        root,
        tmp_path / "cache",
        time_steps=time_steps,
        duration_ms=duration_ms,
        first_event_only=first_event_only,
    )
    data.setup("test")
    files = sorted((root / "Test").glob("*/*.bin"))
    assert len(data.test_set) == len(files) == 30
    for sample, file in enumerate(files):
        bin_us = duration_ms * 1000 // time_steps
        assert spikes_of(data.test_set, sample) == parse_by_hand(
            file.read_bytes(), time_steps, bin_us, first_event_only
        )
        assert data.test_set[sample].label_B.item() == int(file.parent.name)


@pytest.mark.shared
@pytest.mark.parametrize("first_event_only", [False, True])
def test_real_files_equal_the_independent_parser(shared_dir, tmp_path, first_event_only):
    root = shared_dir / "data" / "NMNIST_small"
    data = module(root, tmp_path / "cache", first_event_only=first_event_only)
    data.prepare_data()
    data.setup("fit")
    files = sorted((root / "Train").glob("*/*.bin"))
    assert len(data.train_set.arrays) == len(files) == 1000
    assert (len(data.train_set), len(data.val_set)) == (834, 166)
    train_rows = data.train_set.rows_S.tolist()
    for sample in range(0, len(data.train_set), 20):
        file = files[train_rows[sample]]
        assert spikes_of(data.train_set, sample) == parse_by_hand(file.read_bytes(), 300, 1000, first_event_only)
        assert data.train_set[sample].label_B.item() == int(file.parent.name)


def test_flat_index_polarity_and_bins():
    events = np.array(
        [(33, 0, 0, 0), (0, 1, 999, 1), (0, 1, 998, 1), (0, 1, 1000, 1), (5, 5, 3000, 0)],
        dtype=[("x", int), ("y", int), ("t", int), ("p", int)],
    )
    steps, inputs = Binning(3, 1000, first_event_only=False).spikes(events)
    assert list(zip(steps.tolist(), inputs.tolist(), strict=True)) == [(0, 33), (0, 1156 + 34), (1, 1156 + 34)]
    steps, inputs = Binning(3, 1000, first_event_only=True).spikes(events)
    assert list(zip(steps.tolist(), inputs.tolist(), strict=True)) == [(0, 33), (0, 1156 + 34)]


def test_first_event_only_keeps_one_event_of_each_input(make_nmnist, tmp_path):
    root = make_nmnist(per_label=1, events=5000)
    both = [module(root, tmp_path / "cache", first_event_only=first) for first in (False, True)]
    every, single = (next(iter(data.test_dataloader())).events.to_dense() for data in both)
    assert single.sum(0).max() == 1 < every.sum(0).max()
    assert bool(((every.sum(0) > 0) == (single.sum(0) > 0)).all())
    assert bool((every.argmax(0) == single.argmax(0)).all())


def test_overflow_marks_shift_later_times(tmp_path):
    path = tmp_path / "1.bin"
    path.write_bytes(recording_bytes([(1, 2, 5, 1), (0, 240, 0, 0), (3, 4, 7, 0), (99, 240, 0, 1), (3, 4, 8, 0)]))
    assert read_recording(path).tolist() == [(1, 2, 5, 1), (3, 4, 8199, 0), (3, 4, 16392, 0)]


BAD = {
    "empty": b"",
    "truncated": recording_bytes([(1, 2, 3, 1)] * 4)[:-1],
    "too large": bytes(LARGEST_FILE_BYTES // 5 * 5 + 5),
    "only marks": recording_bytes([(1, 240, 3, 1)]),
    "x outside": recording_bytes([(1, 2, 3, 1), (34, 2, 3, 1)]),
    "y outside": recording_bytes([(1, 2, 3, 1), (2, 34, 3, 1)]),
    "unordered": recording_bytes([(1, 2, 200_000, 1), (2, 3, 100_000, 1)]),
    "text": b"no events here!",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_bad_recordings_are_refused_and_named(make_nmnist, tmp_path, content):
    root = make_nmnist()
    bad = root / "Train/7/00099.bin"
    bad.write_bytes(content)
    with pytest.raises(UserError, match=rf"{bad} .*replace it by the original"):
        module(root, tmp_path / "cache").setup("fit")
    assert not (tmp_path / "cache").exists()


def test_a_huge_file_is_refused_without_reading_it(make_nmnist, tmp_path):
    root = make_nmnist()
    with (root / "Train/7/00099.bin").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"00099\.bin"):
        module(root, tmp_path / "cache").setup("fit")


@pytest.mark.parametrize("name", ["Train/10/00001.bin", "Train/7/notes.txt", "Train/00001.bin", "Train/7/sub.bin/x"])
def test_foreign_files_are_refused_not_skipped(make_nmnist, tmp_path, name):
    root = make_nmnist()
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).touch()
    with pytest.raises(UserError, match=r"Train/.*move it out of data\.root"):
        module(root, tmp_path / "cache").setup("fit")


def test_empty_split_is_refused(tmp_path):
    (tmp_path / "Train").mkdir()
    with pytest.raises(UserError, match="holds no recordings"):
        list_recordings(tmp_path / "Train")


def test_found_in_the_layout_of_tonic_and_split(make_nmnist, tmp_path):
    root = make_nmnist(per_label=6, events=50, folder="NMNIST")
    data = module(root, tmp_path / "cache")
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (50, 10), "a sixth is for validation"
    data = module(root, tmp_path / "cache", val_samples=25)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (35, 25)
    with pytest.raises(UserError, match=r"data\.val_samples = 60"):
        module(root, tmp_path / "cache", val_samples=60).setup("fit")


@pytest.fixture
def parsed(monkeypatch):
    """Counts the parsings."""
    calls = []
    real = nmnist.parse_recordings
    monkeypatch.setattr(nmnist, "parse_recordings", lambda *args: calls.append(1) or real(*args))
    return calls


def test_cache_is_used_until_something_changes(make_nmnist, tmp_path, parsed):
    root = make_nmnist(events=50)

    def load(**options):
        data = module(root, tmp_path / "cache", **options)
        data.prepare_data()
        data.setup("fit")
        return data.fingerprint()

    first = load()
    assert load() == first
    assert load(seed=4, batch_size=3) != first, "another split, but no other parsing"
    assert len(parsed) == 1
    assert load(first_event_only=True) != first
    assert load(time_steps=150) != first
    assert len(parsed) == 3
    (root / "Train/3/00099.bin").write_bytes(recording_bytes([(1, 2, 3, 1)]))
    assert load() != first
    assert len(parsed) == 4
    os.utime(root / "Train/3/00099.bin", ns=(1, 1))
    load()
    assert len(parsed) == 5


def test_corrupt_cache_is_parsed_again(make_nmnist, tmp_path, parsed):
    root = make_nmnist(events=50)
    module(root, tmp_path / "cache").setup("test")
    (cached,) = (tmp_path / "cache").iterdir()
    content = bytearray(cached.read_bytes())
    content[-100] ^= 4
    cached.write_bytes(content)
    data = module(root, tmp_path / "cache")
    data.setup("test")
    assert len(parsed) == 2
    file = min((root / "Test/0").iterdir())
    assert spikes_of(data.test_set, 0) == parse_by_hand(file.read_bytes(), 300, 1000, False)


def test_fitting_reads_no_test_recording(make_nmnist, tmp_path):
    root = make_nmnist()
    (root / "Test/0/00031.bin").write_bytes(b"damaged")
    data = module(root, tmp_path / "cache")
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(UserError, match="Test/0/00031"):
        data.setup("test")


@pytest.mark.parametrize("time_steps", [299, 7, 301, 32767])
def test_bins_must_divide_the_duration(tmp_path, time_steps):
    with pytest.raises(UserError, match=rf"data\.duration_ms=300 .* time_steps={time_steps}"):
        module(tmp_path, tmp_path, time_steps=time_steps)


def test_without_network_one_clear_sentence(tmp_path):
    with pytest.raises(UserError, match=rf"data\.root = {tmp_path} .*no network.*Train and Test folders") as raised:
        module(tmp_path, tmp_path / "cache").prepare_data()
    assert "\n" not in str(raised.value)


def write_zip(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, recording_bytes([(1, 2, 3, 1)]))


def test_download_unpacks_the_split(tmp_path, monkeypatch):
    def download(url, folder, name, md5):
        assert md5 == tonic.datasets.NMNIST.train_md5
        os.makedirs(folder)
        write_zip(os.path.join(folder, name), "Train/0/00001.bin", "Train/4/00002.bin")

    monkeypatch.setattr(tonic.download_utils, "download_url", download)
    data = module(tmp_path, tmp_path / "cache", val_samples=1)
    data.prepare_data()
    data.setup("fit")
    assert sorted(data.train_set.arrays.label_S.tolist()) == [0, 4]
    assert sorted(os.listdir(tmp_path / "NMNIST")) == ["Train", "train.zip"]


@pytest.mark.parametrize("name", ["../evil.bin", "/evil.bin", "Train/../../evil.bin", "C:/evil.bin", "..\\evil.bin"])
def test_members_outside_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "NMNIST"
    folder.mkdir()
    write_zip(folder / "train.zip", "Train/0/00001.bin", name)
    with pytest.raises(UserError, match=r"train\.zip.*points out of"):
        unpack(folder / "train.zip", folder, "Train")
    assert os.listdir(folder) == ["train.zip"]
    assert os.listdir(tmp_path) == ["NMNIST"]


def test_links_in_an_archive_are_refused(tmp_path):
    link = zipfile.ZipInfo("Train/0/00001.bin")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="points out of"):
        unpack(tmp_path / "train.zip", tmp_path, "Train")


@pytest.mark.parametrize("kind", ["no zip", "other content", "truncated", "damaged"])
def test_damaged_archives_are_refused(tmp_path, kind):
    path = tmp_path / "train.zip"
    write_zip(path, "Other/0/00001.bin" if kind == "other content" else "Train/0/00001.bin")
    content = path.read_bytes()
    if kind != "other content":
        damaged = {"no zip": b"<html>", "truncated": content[:-10], "damaged": content.replace(b"\x01\x02\x80", b"123")}
        path.write_bytes(damaged[kind])
    with pytest.raises(UserError, match=r"train\.zip is not the N-MNIST archive"):
        unpack(path, tmp_path, "Train")
    assert os.listdir(tmp_path) == ["train.zip"]


def test_read_only_root_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()

    def download(url, folder, name, md5):
        os.makedirs(folder)

    monkeypatch.setattr(tonic.download_utils, "download_url", download)
    with pytest.raises(UserError, match=r"data\.root"):
        download_recordings(tmp_path / "file", "train")


def numbers(dataset) -> list[tuple]:
    return [tuple(spikes_of(dataset, sample)) for sample in range(len(dataset))]


def test_folds_divide_all_recordings_alike_in_labels_and_whatever_the_seed(make_nmnist, tmp_path):
    root, every, parts = make_nmnist(), [], []
    for split in ("train", "test"):
        every += numbers(NMNIST(root, tmp_path / "cache")._samples(split, 300))
    for fold in range(3):
        data = module(root, tmp_path / "cache", folds=3, fold=fold, seed=fold, val_samples=10)
        train, val = data.task.load_train_val(300, fold)
        test = data.task.load_test(300, fold)
        assert (len(train), len(val), len(test)) == (30, 10, 20)
        assert np.bincount(test.arrays.label_S[test.rows_S]).tolist() == [2] * 10
        assert sorted(numbers(train) + numbers(val) + numbers(test)) == sorted(every)
        other_seed = module(root, tmp_path / "cache", folds=3, fold=fold, seed=9)
        assert numbers(other_seed.task.load_test(300, 9)) == numbers(test)
        parts += numbers(test)
    assert sorted(parts) == sorted(every)
    assert len(set(every)) == 60


def test_more_folds_than_recordings_of_a_digit_are_refused(make_nmnist, tmp_path):
    with pytest.raises(UserError, match=r"data\.folds to at most 6"):
        module(make_nmnist(), tmp_path / "cache", folds=7).setup("test")
