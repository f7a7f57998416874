import pickle

import numpy as np
import pytest
import torch

from app.data.cache import cached_arrays
from app.data.event_arrays import EventArrays
from app.data.event_dataset import EventDataset
from tests.support.numbered import SHAPE, TIME_STEPS, make_arrays


@pytest.mark.parametrize("indices", [[3], [5, 1, 9, 2], [0, 7], [4, 4, 0, 4], list(range(20))])
def test_batch_equals_a_dense_loop(indices):
    arrays, dense = make_arrays()
    batch = EventDataset(arrays, TIME_STEPS, SHAPE).__getitems__(indices)
    expected = np.stack([dense[i].reshape(TIME_STEPS, *SHAPE) for i in indices], axis=1)
    assert batch.events.to_dense().numpy().tolist() == expected.tolist()
    assert batch.label_B.tolist() == indices
    assert batch.target_TBN is None


def test_types_order_and_shape():
    arrays, dense = make_arrays()
    events, label_B, _ = EventDataset(arrays, TIME_STEPS, SHAPE).__getitems__([2, 6, 3])
    assert (events.steps_E.dtype, events.neurons_E.dtype, events.offsets_B1.dtype) == (
        torch.int32,
        torch.int32,
        torch.int64,
    )
    assert label_B.dtype == torch.int64
    assert (events.time_steps, events.shape, events.batch_size) == (TIME_STEPS, SHAPE, 3)
    key = events.samples_E() * 10_000 + events.steps_E * 100 + events.neurons_E
    assert (key.diff() > 0).all()
    assert len(key) == dense[[2, 6, 3]].sum() > 0


def test_single_items_and_subset():
    arrays, dense = make_arrays()
    part = EventDataset(arrays, TIME_STEPS, SHAPE).subset(np.array([8, 2, 5]))
    assert len(part) == 3
    assert part[1].label_B.tolist() == [2]
    assert part[1].events.to_dense().sum() == dense[2].sum()
    assert part.subset(np.array([2]))[0].label_B.tolist() == [5]
    with pytest.raises(IndexError):
        part[3]


def test_targets_follow_the_samples():
    arrays, _ = make_arrays()
    targets = torch.rand(TIME_STEPS, 20, 5)
    dataset = EventDataset(arrays, TIME_STEPS, SHAPE, target_TSN=targets).subset(np.array([9, 4, 6]))
    assert torch.equal(dataset.__getitems__([2, 0]).target_TBN, targets[:, [6, 9]])


def test_mapped_arrays_are_pickled_by_name(tmp_path):
    arrays, _ = make_arrays(samples=2000)
    dataset = EventDataset(cached_arrays(tmp_path / "cache", lambda: arrays), TIME_STEPS, SHAPE)
    assert isinstance(dataset.arrays.steps_E, np.memmap)
    content = pickle.dumps(dataset)
    assert len(content) < 20_000 < arrays.steps_E.nbytes
    copy = pickle.loads(content)
    assert isinstance(copy.arrays.steps_E, np.memmap)
    assert torch.equal(copy[11].events.steps_E, dataset[11].events.steps_E)
    assert copy.checksum() == dataset.checksum()


def test_checksum_sees_every_part():
    arrays, _ = make_arrays()
    moved = arrays.steps_E.copy()
    moved[0] += 1
    relabelled = arrays.label_S.copy()
    relabelled[3] = 9
    variants = [
        EventDataset(arrays, TIME_STEPS, SHAPE),
        EventDataset(arrays, TIME_STEPS, SHAPE, np.arange(19)),
        EventDataset(EventArrays(moved, arrays.neurons_E, arrays.offsets_S1, arrays.label_S), TIME_STEPS, SHAPE),
        EventDataset(EventArrays(arrays.steps_E, arrays.neurons_E, arrays.offsets_S1, relabelled), TIME_STEPS, SHAPE),
        EventDataset(arrays, TIME_STEPS, SHAPE, target_TSN=torch.zeros(TIME_STEPS, 20, 1)),
    ]
    assert len({variant.checksum() for variant in variants}) == len(variants)
    assert variants[0].checksum() == EventDataset(make_arrays()[0], TIME_STEPS, SHAPE).checksum()
