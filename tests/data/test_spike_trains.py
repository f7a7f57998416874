import pytest
import torch

from app.data.base import EventDataModule
from app.data.tasks.spike_trains import SpikeTrains

SIZES = ("inputs", "outputs", "input_rate", "target_rate")


def module(**options):
    settings = {key: options.pop(key) for key in SIZES if key in options}
    return EventDataModule(SpikeTrains(**settings), **options)


def sample(**options):
    return next(iter(module(**options).train_dataloader()))


def test_one_sample_everywhere():
    data = module(inputs=40, outputs=7, time_steps=80)
    batches = [list(loader) for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())]
    assert [len(loader) for loader in batches] == [1, 1, 1]
    (train,), (val,), (test,) = batches
    assert train.target_TBN.shape == (80, 1, data.num_classes)
    assert train.events.to_dense().shape == (80, 1, 40)
    assert train.label_B.tolist() == [0]
    for other in (val, test):
        assert torch.equal(train.events.to_dense(), other.events.to_dense())
        assert torch.equal(train.target_TBN, other.target_TBN)


def test_fixed_by_the_seed_alone():
    assert torch.equal(sample(seed=3).target_TBN, sample(seed=3, batch_size=4).target_TBN)
    assert not torch.equal(sample(seed=3).target_TBN, sample(seed=4).target_TBN)
    assert not torch.equal(sample(seed=3).events.neurons_E, sample(seed=4).events.neurons_E)


def test_rates():
    batch = sample(inputs=500, outputs=400, time_steps=200, input_rate=0.1, target_rate=0.02)
    assert batch.events.to_dense().mean().item() == pytest.approx(0.1, rel=0.05)
    assert batch.target_TBN.mean().item() == pytest.approx(0.02, rel=0.1)
    assert set(batch.target_TBN.unique().tolist()) == {0.0, 1.0}
    assert sample(input_rate=1.0).events.to_dense().min() == 1


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"inputs": 0}, "inputs"),
        ({"inputs": 2**16 + 1}, "inputs"),
        ({"outputs": 0}, "outputs"),
        ({"input_rate": 0}, "input_rate"),
        ({"target_rate": 1.5}, "target_rate"),
        ({"target_rate": float("nan")}, "target_rate"),
    ],
)
def test_bad_numbers_are_refused(options, key):
    with pytest.raises(ValueError, match=key):
        module(**options)
