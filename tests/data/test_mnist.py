from itertools import chain

import numpy as np
import pooch
import pytest
import requests
from synthetic import idx_bytes

from app.data import mnist
from app.data.encoding import latency_table
from app.data.idx import read_idx
from app.data.mnist import MNISTDataModule
from app.data.mnist_files import MD5, MIRRORS
from app.errors import UserError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise requests.ConnectionError(f"no network for {url}")

    monkeypatch.setattr(pooch, "retrieve", refuse)


@pytest.mark.parametrize("folder", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("compress", [False, True])
def test_finds_the_files(make_mnist, folder, compress):
    data = MNISTDataModule(make_mnist(folder=folder, compress=compress), val_samples=10)
    data.prepare_data()
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (20, 10)


def test_pixels_become_spikes(make_mnist):
    root = make_mnist()
    data = MNISTDataModule(root, val_samples=10, batch_size=7)
    images = read_idx(root / "MNIST/raw/t10k-images-idx3-ubyte.gz", (28, 28))
    (events, label_B, _) = next(iter(data.test_dataloader()))
    dense = events.to_dense()
    assert tuple(dense.shape) == (data.time_steps, 10, *data.input_shape)
    steps = np.where(dense.sum(0).numpy() > 0, dense.argmax(0).numpy(), -1)[:, 0]
    assert np.array_equal(steps, latency_table(255)[images])
    assert label_B.tolist() == list(range(10))


def test_split_is_a_partition_that_the_seed_decides(make_mnist):
    root = make_mnist()
    splits = []
    for seed in (0, 0, 1):
        data = MNISTDataModule(root, val_samples=10, seed=seed)
        data.setup("fit")
        splits.append((data.train_set.rows_S.tolist(), data.val_set.rows_S.tolist()))
        assert sorted(chain(*splits[-1])) == list(range(30))
    assert splits[0] == splits[1] != splits[2]


def test_default_split_of_a_subset_is_refused(make_mnist):
    data = MNISTDataModule(make_mnist())
    with pytest.raises(UserError, match=r"data\.val_samples = 10000 .* 30 training samples .* between 1 and 29"):
        data.setup("fit")


def test_test_split_is_not_read_before_it_is_asked_for(make_mnist):
    root = make_mnist()
    for path in (root / "MNIST/raw").glob("t10k*"):
        path.write_bytes(b"damaged")
    data = MNISTDataModule(root, val_samples=10)
    data.prepare_data()
    data.setup("fit")
    assert sum(len(batch.label_B) for batch in data.train_dataloader()) == 20
    assert sum(len(batch.label_B) for batch in data.val_dataloader()) == 10
    data.fingerprint()
    with pytest.raises(UserError, match="t10k"):
        data.setup("test")


def test_images_and_labels_must_match(make_mnist):
    root = make_mnist(compress=False)
    (root / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(29)))
    with pytest.raises(UserError, match=r"30 images.*29 labels"):
        MNISTDataModule(root, val_samples=10).setup("fit")


def test_labels_must_be_digits(make_mnist):
    root = make_mnist(compress=False)
    (root / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(30, 10)))
    with pytest.raises(UserError, match=r"train-labels.* label 10"):
        MNISTDataModule(root, val_samples=10).setup("fit")


def test_second_mirror_is_tried(tmp_path, monkeypatch):
    calls = []

    def retrieve(url, known_hash, fname, path, downloader):
        calls.append((url, known_hash))
        if url.startswith(MIRRORS[0]):
            raise ValueError("MD5 does not match")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    MNISTDataModule(tmp_path).prepare("train")
    names = [name for name in MD5 if name.startswith("train")]
    assert calls == [(mirror + name, f"md5:{MD5[name]}") for name in names for mirror in MIRRORS]


def test_only_missing_files_are_downloaded(make_mnist, monkeypatch):
    root = make_mnist()
    (root / "MNIST/raw/train-labels-idx1-ubyte.gz").unlink()
    calls = []
    monkeypatch.setattr(pooch, "retrieve", lambda url, *args, **kwargs: calls.append(url))
    MNISTDataModule(root, val_samples=10).prepare("train")
    assert calls == [MIRRORS[0] + "train-labels-idx1-ubyte.gz"]


def test_without_network_one_clear_sentence(tmp_path):
    data = MNISTDataModule(tmp_path)
    for ask in (data.prepare_data, lambda: data.setup("fit"), data.test_dataloader):
        with pytest.raises(UserError, match=rf"data\.root = {tmp_path} .*ConnectionError.*put the four files"):
            ask()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"time_steps": 23}, "time_steps"),
        ({"time_steps": 0}, "time_steps"),
        ({"time_steps": 2**15}, "time_steps"),
        ({"latency_min_steps": 25}, r"data\.latency_min_steps"),
        ({"batch_size": 0}, r"data\.batch_size"),
        ({"eval_batch_size": 0}, r"data\.eval_batch_size"),
        ({"num_workers": -1}, r"data\.num_workers"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_numbers_are_refused_at_once(tmp_path, options, key):
    with pytest.raises(UserError, match=key):
        MNISTDataModule(tmp_path, **options)


@pytest.mark.shared
def test_the_real_data(shared_dir):
    data = MNISTDataModule(shared_dir / "data")
    data.setup("fit")
    data.setup("test")
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (50_000, 10_000, 10_000)
    pixels = read_idx(mnist.find_files(shared_dir / "data", "train")[0], (28, 28))
    assert len(data.train_set.arrays.steps_E) == np.count_nonzero(pixels)
    assert np.bincount(data.train_set.arrays.label_S).tolist()[:3] == [5923, 6742, 5958]
