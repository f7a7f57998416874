"""Every rule trains on every task as it did when the curves were stored (:mod:`tests.support.curves`)."""

import pytest
import torch

from app.rules import RULES
from tests.support.curves import STEPS, TASKS, curve, distance, stored

TOLERANCE = 0.05
"""Mean difference over the steps, in units of the first loss: more than twice the largest that
relative noise of 10⁻⁶ in the first weights makes (``--spread``). Another processor sums in another order, a spike next
to the threshold comes a step earlier or later, and all behind it differs; most curves do not move at all. The first
loss, before any step, has no such excuse."""


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_trains_as_it_did(rule):
    curves = stored(rule)
    assert list(curves) == list(TASKS), "write the curves again: python -m tests.support.curves --write"
    for task, expected in curves.items():
        losses = curve(rule, task)
        assert len(losses) == STEPS
        assert losses[0] == pytest.approx(expected[0], rel=1e-4), task
        assert distance(losses, expected) <= TOLERANCE, task
        assert curve(rule, task, 10) == losses[:10], f"{task}: the same run twice gives other bits"
