from itertools import chain

import numpy as np
from sklearn.datasets import load_digits

from app.data.base import EventDataModule
from app.data.encoding import latency_table
from app.data.tasks.digits import Digits


def images_of(dataset):
    """The spike steps of each sample as bytes: what tells samples apart."""
    dense = dataset.__getitems__(range(len(dataset))).events.to_dense()
    steps = np.where(dense.sum(0).numpy() > 0, dense.argmax(0).numpy(), -1)
    return [image.tobytes() for image in steps.astype(np.int64)]


def test_splits_are_a_partition_and_the_test_split_is_fixed():
    modules = [EventDataModule(Digits(), seed=seed) for seed in (0, 1)]
    for data in modules:
        data.setup("fit")
        data.setup("test")
    first, second = modules
    assert (len(first.train_set), len(first.val_set), len(first.test_set)) == (1200, 237, 360)
    expected = latency_table(16)[load_digits().data.astype(int)].astype(np.int64)
    everything = sorted(image.tobytes() for image in expected)
    for data in modules:
        assert sorted(chain(*map(images_of, (data.train_set, data.val_set, data.test_set)))) == everything
    assert images_of(first.test_set) == images_of(second.test_set)
    assert images_of(first.val_set) != images_of(second.val_set)
    assert np.bincount(first.test_set.arrays.label_S).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]


def test_known_without_loading():
    data = EventDataModule(Digits(), time_steps=30)
    assert (data.input_shape, data.num_classes, data.time_steps) == ((1, 8, 8), 10, 30)
    assert data.train_set is None


def test_latency_limits_are_used():
    data = EventDataModule(Digits(latency_min_steps=10, latency_max_steps=50), time_steps=60)
    steps_E = next(iter(data.test_dataloader())).events.steps_E
    assert (steps_E.min(), steps_E.max()) == (10, 47)


def test_fingerprint_is_stable_and_sees_the_data():
    prints = [
        EventDataModule(Digits(**settings), **options).fingerprint()
        for settings, options in (
            ({}, {}),
            ({}, {"batch_size": 3, "num_workers": 1}),
            ({}, {"seed": 1}),
            ({"latency_max_steps": 20}, {}),
        )
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert len(prints[0]) == 16
