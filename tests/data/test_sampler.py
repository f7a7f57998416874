from itertools import chain

import pytest

from app.data.sampler import EvaluationBatches, Position, TrainingBatches


def epoch_of(batches: TrainingBatches, epoch: int) -> list[list[int]]:
    batches.epoch = epoch
    return list(batches)


def test_one_process_sees_every_sample_and_keeps_the_last_batch():
    batches = TrainingBatches(23, 4, seed=1)
    epoch = list(batches)
    assert sorted(chain(*epoch)) == list(range(23))
    assert [len(batch) for batch in epoch] == [4, 4, 4, 4, 4, 3]
    assert len(batches) == 6


def test_order_is_a_function_of_seed_and_epoch():
    orders = {(s, e): tuple(chain(*epoch_of(TrainingBatches(50, 4, s), e))) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert tuple(chain(*epoch_of(TrainingBatches(50, 7, 2), 1))) == orders[2, 1], "the batch size does not matter"


@pytest.mark.parametrize(("samples", "world"), [(17, 3), (16, 4), (5, 2), (1000, 7)])
def test_ranks_train_on_disjoint_samples_in_equally_many_batches(samples, world):
    ranks = [list(TrainingBatches(samples, 4, 0, rank, world)) for rank in range(world)]
    seen = list(chain(*chain(*ranks)))
    assert len(seen) == len(set(seen)) == samples - samples % world
    assert len({tuple(map(len, batches)) for batches in ranks}) == 1
    assert len(ranks[0]) == len(TrainingBatches(samples, 4, 0, 0, world))


def test_ranks_together_take_the_order_of_one_process():
    one = list(chain(*TrainingBatches(12, 4, 3)))
    two = [list(chain(*TrainingBatches(12, 2, 3, rank, 2))) for rank in range(2)]
    assert list(chain(*zip(*two, strict=True))) == one


def test_starting_inside_an_epoch():
    batches = TrainingBatches(23, 4, seed=1)
    whole = list(batches)
    batches.first_batch = 4
    assert list(batches) == whole[4:]
    assert len(batches) == 6, "the length is that of the epoch"


def test_every_batch_has_a_key_of_its_own():
    def keys(seed, epoch, rank, first_batch=0):
        batches = TrainingBatches(24, 4, seed, rank, 2)
        batches.epoch, batches.first_batch = epoch, first_batch
        return [batch.key for batch in batches]

    every = list(chain(*(keys(s, e, r) for s in range(2) for e in range(3) for r in range(2))))
    assert len(set(every)) == len(every) == 2 * 3 * 2 * 3
    assert keys(1, 2, 1, first_batch=1) == keys(1, 2, 1)[1:] == [(1, 2, 1, 1), (1, 2, 2, 1)]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 256])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [5, 6, 9, 31, 100])
def test_evaluation_counts_every_sample_once(samples, world, batch_size):
    samplers = [EvaluationBatches(samples, batch_size, rank, world) for rank in range(world)]
    ranks = [list(sampler) for sampler in samplers]
    assert sorted(chain(*chain(*ranks))) == list(range(samples))
    assert [len(batches) for batches in ranks] == [len(sampler) for sampler in samplers]
    assert all(1 <= len(batch) <= batch_size for batches in ranks for batch in batches)
    if batch_size > 1:
        assert len({len(batches) for batches in ranks}) == 1


def test_evaluation_keeps_the_order():
    assert list(chain(*EvaluationBatches(10, 4))) == list(range(10))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Position(0, 0), (0, 0)),
        (Position(0, 5), (1, 0)),
        (Position(0, 3), (1, 0)),
        (Position(2, 3, resumed=True), (2, 3)),
        (Position(2, 5, resumed=True), (3, 0)),
        (Position(2, 0, resumed=True), (2, 0)),
    ],
)
def test_where_a_pass_of_five_batches_starts(before, after):
    before.start_pass(epoch_batches=5)
    assert (before.epoch, before.batches, before.resumed) == (*after, False)
