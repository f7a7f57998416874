import numpy as np
import pytest

from app.config import load_config
from app.data.base import EventDataModule
from app.data.tasks.arrays import Arrays
from app.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 4, 5), np.uint8)
SPIKES = RNG.random((30, 12, 7)) < 0.2
LABELS = np.arange(30) % 3


def dense(dataset):
    return dataset.__getitems__(range(len(dataset))).events.to_dense().numpy()


def test_images_of_python_are_a_data_module_in_three_lines():
    task = Arrays(arrays={"images": IMAGES, "labels": LABELS})
    data = EventDataModule(task, time_steps=50)
    data.setup("fit")
    data.setup("test")
    assert (data.input_shape, data.num_classes, task.usual_network) == ((1, 4, 5), 3, ("20", "fc200", "fc3"))
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (20, 4, 6)
    assert np.bincount(data.test_set.arrays.label_S[data.test_set.rows_S]).tolist() == [2, 2, 2]
    parts = np.concatenate([one.rows_S for one in (data.train_set, data.val_set, data.test_set)])
    assert sorted(parts) == list(range(30))


def test_numbers_and_bytes_are_coded_alike():
    sets = [Arrays(arrays={"images": images, "labels": LABELS}).load_test(50, 0) for images in (IMAGES, IMAGES / 255)]
    assert sets[0].checksum() == sets[1].checksum()


def test_spikes_of_a_file_come_back_and_give_the_window(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, spikes_train=SPIKES, labels_train=LABELS, spikes_test=SPIKES[:5], labels_test=LABELS[:5])
    config = load_config(["task=arrays", f"data.path={path}"])
    assert (config.time_steps, config.network) == (12, ["7", "fc200", "fc3"])
    task = config.component("task")
    assert (dense(task.load_test(12, 0)).swapaxes(0, 1).reshape(5, 12, 7) == SPIKES[:5]).all()
    train, val = task.load_train_val(12, 0)
    assert (len(train), len(val)) == (25, 5)


def test_rate_coding_fires_as_often_as_pixels_are_bright_and_never_twice_alike_in_splits():
    task = Arrays(arrays={"images": np.full((30, 10), 0.5), "labels": LABELS}, coding="rate", rate_max=0.4)
    spikes_TBN = dense(task.load_test(1000, 0))
    assert spikes_TBN.mean() == pytest.approx(0.2, abs=0.01)
    assert task.load_test(1000, 0).checksum() == task.load_test(1000, 1).checksum()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "arrays has no array images: it must hold images or spikes"),
        ({"images": IMAGES}, "arrays has no array labels"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "needs labels as 30 integers from 0"),
        ({"images": IMAGES, "labels": LABELS - 1}, "needs labels as 30 integers from 0"),
        ({"images": IMAGES.astype(int), "labels": LABELS}, "bytes .uint8. or numbers from 0 to 1"),
        ({"images": np.full((30, 2), np.nan), "labels": LABELS}, "bytes .uint8. or numbers from 0 to 1"),
        ({"images": IMAGES.astype(str), "labels": LABELS}, "give numbers"),
        ({"spikes": SPIKES[:, 0], "labels": LABELS}, "must have the axes .S, T, …."),
        ({"images": IMAGES[:4], "labels": LABELS[:4]}, "has no test split, and none can be drawn"),
        ({"images": np.zeros((30, 300, 300), np.uint8), "labels": LABELS}, "give 1 to 65536"),
        ({"images": IMAGES, "labels": LABELS * 200}, "401 classes: give at most 256"),
        (
            {"images_train": IMAGES, "labels_train": LABELS, "images_test": IMAGES[:, 1:], "labels_test": LABELS},
            "differ in shape",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message):
    with pytest.raises(UserError, match=message):
        EventDataModule(Arrays(arrays=arrays)).setup("test")


def test_files_that_do_not_fit_are_refused(tmp_path):
    for path, message in (
        (None, "add data.path=FILE.npz"),
        (tmp_path / "no.npz", "does not exist: give an .npz file"),
        (tmp_path / "bad.npz", "write it by numpy.savez"),
        (tmp_path, "write it by numpy.savez"),
    ):
        (tmp_path / "bad.npz").write_bytes(b"PK\3\4 and nothing else")
        with pytest.raises(UserError, match=message):
            load_config(["task=arrays", *([f"data.path={path}"] if path else [])])
    np.savez(tmp_path / "x.npz", spikes=SPIKES, labels=LABELS)
    with pytest.raises(UserError, match=r"time_steps=5 cuts the 12 steps of the spikes in .* raise it"):
        load_config(["task=arrays", f"data.path={tmp_path / 'x.npz'}", "time_steps=5"])
