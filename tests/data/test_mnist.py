from itertools import chain

import numpy as np
import pooch
import pytest
import requests

from app.data.base import EventDataModule
from app.data.encoding import latency_table
from app.data.idx import read_idx
from app.data.mnist_files import FASHION_SOURCE, MNIST_SOURCE, find_files
from app.data.tasks.fashion import FashionMNIST
from app.data.tasks.mnist import MNIST
from app.errors import UserError
from tests.support.synthetic import idx_bytes


def module(root, kind=MNIST, outputs=10, **options):
    own = {key: options.pop(key) for key in ("val_samples", "latency_min_steps", "latency_max_steps") if key in options}
    return EventDataModule(kind(root=root, outputs=outputs, **own), **options)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise requests.ConnectionError(f"no network for {url}")

    monkeypatch.setattr(pooch, "retrieve", refuse)


@pytest.mark.parametrize("folder", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("compress", [False, True])
def test_finds_the_files(make_mnist, folder, compress):
    data = module(make_mnist(folder=folder, compress=compress), val_samples=10)
    data.prepare_data()
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (20, 10)


def test_pixels_become_spikes(make_mnist):
    root = make_mnist()
    data = module(root, val_samples=10, batch_size=7)
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
        data = module(root, val_samples=10, seed=seed)
        data.setup("fit")
        splits.append((data.train_set.rows_S.tolist(), data.val_set.rows_S.tolist()))
        assert sorted(chain(*splits[-1])) == list(range(30))
    assert splits[0] == splits[1] != splits[2]


def test_default_split_of_a_subset_is_refused(make_mnist):
    data = module(make_mnist())
    with pytest.raises(UserError, match=r"data\.val_samples = 10000 .* 30 training samples .* between 1 and 29"):
        data.setup("fit")


def test_test_split_is_not_read_before_it_is_asked_for(make_mnist):
    root = make_mnist()
    for path in (root / "MNIST/raw").glob("t10k*"):
        path.write_bytes(b"damaged")
    data = module(root, val_samples=10)
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
        module(root, val_samples=10).setup("fit")


def test_labels_must_be_digits(make_mnist):
    root = make_mnist(compress=False)
    (root / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(30, 10)))
    with pytest.raises(UserError, match=r"train-labels.* label 10"):
        module(root, val_samples=10).setup("fit")


def test_second_mirror_is_tried(tmp_path, monkeypatch):
    calls = []

    def retrieve(url, known_hash, fname, path, downloader):
        calls.append((url, known_hash))
        if url.startswith(MNIST_SOURCE.mirrors[0]):
            raise ValueError("MD5 does not match")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    module(tmp_path).prepare("train")
    names = [name for name in MNIST_SOURCE.md5 if name.startswith("train")]
    assert calls == [
        (mirror + name, f"md5:{MNIST_SOURCE.md5[name]}") for name in names for mirror in MNIST_SOURCE.mirrors
    ]


def test_only_missing_files_are_downloaded(make_mnist, monkeypatch):
    root = make_mnist()
    (root / "MNIST/raw/train-labels-idx1-ubyte.gz").unlink()
    calls = []
    monkeypatch.setattr(pooch, "retrieve", lambda url, *args, **kwargs: calls.append(url))
    module(root, val_samples=10).prepare("train")
    assert calls == [MNIST_SOURCE.mirrors[0] + "train-labels-idx1-ubyte.gz"]


def test_without_network_one_clear_sentence(tmp_path):
    data = module(tmp_path)
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
        module(tmp_path, **options)


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("test_prefix", ["t10k", "test"])
def test_common_names_of_the_files(make_mnist, mark, compress, test_prefix):
    root = make_mnist(compress=compress)
    for path in (root / "MNIST/raw").iterdir():
        path.rename(path.with_name(path.name.replace("-idx", f"{mark}idx").replace("t10k", test_prefix)))
    data = module(root, val_samples=10)
    assert sum(len(batch.label_B) for batch in data.train_dataloader()) == 20
    assert sum(len(batch.label_B) for batch in data.test_dataloader()) == 10


@pytest.fixture
def make_letters(make_mnist):
    """EMNIST letters under the names of their archive: labels 1 to 26, images with rows and columns exchanged."""

    def make(prefix="emnist-letters-"):
        root = make_mnist(train=52, test=26, compress=False)
        for path in (root / "MNIST/raw").iterdir():
            if "labels" in path.name:
                path.write_bytes(idx_bytes(np.arange(52 if "train" in path.name else 26) % 26 + 1))
            path.rename(path.with_name(prefix + path.name.replace("t10k", "test" if prefix else "t10k")))
        return root

    return make


@pytest.mark.parametrize("prefix", ["emnist-letters-", ""])
def test_labels_counted_from_1_become_outputs_from_0(make_letters, prefix, capsys):
    data = module(make_letters(prefix), outputs=26, val_samples=10)
    data.setup("fit")
    assert sorted(set(data.train_set.arrays.label_S.tolist())) == list(range(26))
    assert "labels are counted from 1; class 1 is output 0" in capsys.readouterr().err
    assert next(iter(data.test_dataloader())).label_B.tolist() == list(range(26))


def test_emnist_images_are_turned_as_mnist_images_are(make_letters):
    root = make_letters()
    raw = read_idx(root / "MNIST/raw/emnist-letters-test-images-idx3-ubyte", (28, 28))
    dense = next(iter(module(root, outputs=26).test_dataloader())).events.to_dense()[:, :, 0].sum(0).numpy()
    assert np.array_equal(dense > 0, raw.transpose(0, 2, 1) > 0)


def test_letters_need_26_outputs(make_letters):
    with pytest.raises(UserError, match=r"label 26, beyond the 10 classes of the network: end network= with fc26"):
        module(make_letters(), val_samples=10).setup("fit")


def test_a_test_split_without_0_needs_the_training_labels(make_letters):
    root = make_letters()
    for path in (root / "MNIST/raw").glob("*train*"):
        path.unlink()
    with pytest.raises(UserError, match=r"has no label 0, and the training labels that would tell"):
        module(root, outputs=26).setup("test")


def test_a_test_split_that_lacks_0_is_counted_as_the_training_split_is(make_mnist, capsys):
    root = make_mnist(compress=False)
    (root / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(10, 9)))
    data = module(root, val_samples=10)
    assert next(iter(data.test_dataloader())).label_B.tolist() == [9] * 10
    assert not capsys.readouterr().err


def test_fashion_mnist_has_a_folder_of_its_own(make_mnist, monkeypatch):
    root = make_mnist(folder="FashionMNIST/raw")
    assert find_files(root, "train") is None
    data = module(root, FashionMNIST, val_samples=10)
    assert sum(len(batch.label_B) for batch in data.train_dataloader()) == 20
    calls = []
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, **_: calls.append((url, known_hash)))
    (root / "FashionMNIST/raw/t10k-images-idx3-ubyte.gz").unlink()
    data.task.prepare("test", 100)
    name = "t10k-images-idx3-ubyte.gz"
    assert calls == [(FASHION_SOURCE.mirrors[0] + name, f"md5:{FASHION_SOURCE.md5[name]}")]


@pytest.mark.shared
def test_the_real_data(shared_dir):
    data = module(shared_dir / "data")
    data.setup("fit")
    data.setup("test")
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (50_000, 10_000, 10_000)
    pixels = read_idx(find_files(shared_dir / "data", "train")[0], (28, 28))
    assert len(data.train_set.arrays.steps_E) == np.count_nonzero(pixels)
    assert np.bincount(data.train_set.arrays.label_S).tolist()[:3] == [5923, 6742, 5958]
