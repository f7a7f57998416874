import numpy as np
import pytest

from app.data.base import EventDataModule
from app.data.tasks.yinyang import YinYang, classes_of, draw_points
from app.errors import UserError


def test_points_of_the_picture_have_its_classes():
    points = [(0.25, 0.5), (0.75, 0.55), (0.25, 0.65), (0.75, 0.35), (0.5, 0.9), (0.5, 0.1), (0.75, 0.62), (0.25, 0.38)]
    assert classes_of(np.array(points)).tolist() == [2, 2, 0, 1, 0, 1, 1, 0]


def test_a_half_turn_swaps_yin_and_yang():
    points_S2, label_S = draw_points(600, 0)
    assert np.hypot(*(points_S2 - 0.5).T).max() <= 0.5
    assert np.bincount(label_S).tolist() == [200, 200, 200]
    assert classes_of(1 - points_S2).tolist() == np.array([1, 0, 2])[label_S].tolist()


def test_each_input_fires_once_at_the_step_of_its_value():
    data = EventDataModule(YinYang(first_step=10, last_step=50, bias_step=3), time_steps=60)
    batch = next(iter(data.test_dataloader()))
    spikes_TBN = batch.events.to_dense().numpy()
    assert (spikes_TBN.sum(0) == 1).all()
    steps_BN = spikes_TBN.argmax(0)
    points_S2, label_S = draw_points(1000, 40)
    assert batch.label_B.tolist() == label_S[: len(steps_BN)].tolist()
    assert steps_BN[:, :2].tolist() == np.rint(10 + 40 * points_S2[: len(steps_BN)]).tolist()
    assert (steps_BN[:, :2] + steps_BN[:, 2:4] == 60).all()
    assert (steps_BN[:, 4] == 3).all()


def test_samples_do_not_depend_on_the_seed_and_parts_differ():
    modules = [EventDataModule(YinYang(), seed=seed) for seed in (0, 1)]
    assert modules[0].fingerprint() == modules[1].fingerprint()
    assert (len(modules[0].train_set), len(modules[0].val_set)) == (5000, 1000)
    assert modules[0].val_set.arrays.checksum != EventDataModule(YinYang())._test_samples().arrays.checksum


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first_step": 60}, "data.first_step=60 is past data.last_step=50: lower the former"),
        ({"last_step": 100}, "data.last_step=100 is past the last of time_steps=100; lower it or raise time_steps"),
        ({"bias_step": 100}, "data.bias_step=100 is past the last of time_steps=100; lower it or raise time_steps"),
    ],
)
def test_steps_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        EventDataModule(YinYang(**settings))
