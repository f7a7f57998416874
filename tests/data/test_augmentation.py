"""Augmentation against loops over events, and its random numbers against everything they must not depend on."""

import pickle
from itertools import chain, islice

import numpy as np
import pytest
import torch

from app.data.augmentation import Augmentation, AugmentedDataset
from app.data.event_dataset import EventDataset
from app.data.sampler import KeyedIndices
from app.events import SpikeEvents
from tests.support.numbered import SHAPE, TIME_STEPS, make_arrays, numbered_data

ALL = Augmentation(0.2, 1, 2)
KEY = (5, 1, 3, 0)


def events_of(indices, rate=0.1) -> SpikeEvents:
    return EventDataset(make_arrays(rate=rate)[0], TIME_STEPS, SHAPE).__getitems__(indices).events


def listed(events: SpikeEvents) -> list[set[tuple[int, int]]]:
    """The (step, neuron) pairs of each sample, after a check of what SpikeEvents promises."""
    samples = []
    assert events.steps_E.dtype == events.neurons_E.dtype == torch.int32
    assert (events.offsets_B1.dtype, events.offsets_B1[0], events.offsets_B1[-1]) == (
        torch.int64,
        0,
        len(events.steps_E),
    )
    for start, end in zip(events.offsets_B1[:-1], events.offsets_B1[1:], strict=True):
        steps, neurons = events.steps_E[start:end].tolist(), events.neurons_E[start:end].tolist()
        assert steps == sorted(steps)
        assert all(0 <= step < events.time_steps for step in steps)
        samples.append(set(zip(steps, neurons, strict=True)))
        assert len(samples[-1]) == len(steps), "without duplicates"
    return samples


def test_nothing_is_on_by_default():
    assert not Augmentation()
    assert isinstance(numbered_data().train_dataloader().dataset, EventDataset)
    assert all(Augmentation(**{name: 1}) for name in ("event_dropout", "max_shift_pixels", "time_jitter_steps"))


def test_dropped_events_are_some_and_the_rest_stays():
    before = events_of(range(20), 0.5)
    after = Augmentation(event_dropout=0.25)(before, np.random.default_rng(0))
    assert all(new <= old for new, old in zip(listed(after), listed(before), strict=True))
    kept, events = len(after.steps_E), len(before.steps_E)
    assert abs(kept - 0.75 * events) < 4 * (events * 0.25 * 0.75) ** 0.5


def test_jitter_moves_each_event_by_at_most_j_and_merges():
    before = events_of(range(20), 0.5)
    after = Augmentation(time_jitter_steps=2)(before, np.random.default_rng(0))
    merged = 0
    for old, new in zip(listed(before), listed(after), strict=True):
        near = [{(step + move, neuron) for move in range(-2, 3)} for step, neuron in old]
        assert all(any((min(max(s, 0), TIME_STEPS - 1), n) in new for s, n in places) for places in near)
        assert all(any((s + move, n) in old for move in range(-2, 3)) for s, n in new)
        merged += len(old) - len(new)
    assert 0 < merged < len(before.steps_E) / 2


def test_jitter_is_uniform_away_from_the_edges():
    one = torch.ones(4000, dtype=torch.int32)
    before = SpikeEvents(50 * one, 7 * one, torch.arange(4001), 100, (10,))
    after = Augmentation(time_jitter_steps=3)(before, np.random.default_rng(0))
    counts = torch.bincount(after.steps_E - 47)
    assert len(counts) == 7
    assert (counts - 4000 / 7).abs().max() < 4 * (4000 * 6 / 49) ** 0.5
    wide = Augmentation(time_jitter_steps=200)(SpikeEvents(*vars(before).values()), np.random.default_rng(0))
    assert {0, 99} <= set(wide.steps_E.tolist()), "clipped to the window"


def test_a_shift_moves_whole_images_and_loses_what_leaves_the_frame():
    before = events_of(range(20), 0.5)
    after = Augmentation(max_shift_pixels=2)(before, np.random.default_rng(0)).to_dense()
    seen = set()
    for b in range(20):
        image = before.to_dense()[:, b]
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                moved = torch.zeros(TIME_STEPS, 2, 3 + 4, 4 + 4)
                moved[:, :, 2 + down : 5 + down, 2 + right : 6 + right] = image
                if torch.equal(moved[:, :, 2:5, 2:6], after[:, b]):
                    matches.append((down, right))
        assert matches
        if image.any():
            seen |= set(matches)
    assert {down for down, _ in seen} == {right for _, right in seen} == set(range(-2, 3))


@pytest.mark.parametrize("indices", [[0], [0, 7], [3, 0, 5, 7]], ids=str)
def test_silent_samples(indices):
    listed(ALL(events_of(indices), np.random.default_rng(0)))


def test_the_key_decides_and_every_part_of_it_counts():
    dataset = AugmentedDataset(EventDataset(make_arrays(rate=0.5)[0], TIME_STEPS, SHAPE), ALL)
    draw = lambda key: dataset.__getitems__(KeyedIndices([1, 2, 3], key)).events.steps_E.tolist()  # noqa: E731
    assert draw(KEY) == draw(KEY)
    others = [tuple(part + (i == j) for j, part in enumerate(KEY)) for i in range(4)]
    assert len({tuple(draw(key)) for key in (KEY, *others)}) == 5


def test_indices_take_their_key_into_a_worker():
    indices = pickle.loads(pickle.dumps(KeyedIndices([4, 2], KEY)))
    assert (list(indices), indices.key) == ([4, 2], KEY)


def contents(batches) -> list[tuple[list[int], list[int], list[int]]]:
    return [(b.label_B.tolist(), b.events.steps_E.tolist(), b.events.neurons_E.tolist()) for b in batches]


def three_epochs(data: numbered_data):
    loader = data.train_dataloader()
    return contents(chain.from_iterable(loader for _ in range(3)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batches", [0, 4, 6, 11])
def test_workers_and_resuming_change_nothing(workers, batches):
    whole = three_epochs(numbered_data(augmentation=ALL))
    assert whole != three_epochs(numbered_data())
    data = numbered_data(augmentation=ALL, num_workers=workers)
    loader = data.train_dataloader()
    seen = contents(islice(chain.from_iterable(loader for _ in range(3)), batches))
    other = numbered_data(augmentation=ALL, num_workers=2 - workers)
    other.load_state_dict(data.state_dict())
    assert (seen + three_epochs(other))[: len(whole)] == whole


def test_a_sample_is_different_in_every_epoch():
    loader = numbered_data(augmentation=ALL, batch_size=23).train_dataloader()
    passes = chain.from_iterable(loader for _ in range(2))
    samples = [dict(zip(batch.label_B.tolist(), listed(batch.events), strict=True)) for batch in passes]
    assert len(samples) == 2
    assert sum(samples[0][s] != samples[1][s] for s in range(23)) > 10


def test_validation_and_test_are_left_alone():
    augmented, plain = numbered_data(augmentation=ALL), numbered_data()
    for name in ("val_dataloader", "test_dataloader"):
        assert contents(getattr(augmented, name)()) == contents(getattr(plain, name)())
    assert augmented.fingerprint() == plain.fingerprint()


def test_global_random_numbers_are_left_alone():
    before = (torch.get_rng_state(), str(np.random.get_state()))  # noqa: NPY002
    three_epochs(numbered_data(augmentation=ALL))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
