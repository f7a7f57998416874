"""Two bursts, whose kinds are the class."""

import numpy as np
import pytest

from app.config import load_config
from app.data.tasks.temporal_order import TemporalOrder
from app.errors import UserError


def test_the_class_says_which_burst_came_first_and_which_second():
    data = TemporalOrder().load_test(60, 0)
    arrays, starts = data.arrays, []
    for sample in range(40):
        own = slice(arrays.offsets_S1[sample], arrays.offsets_S1[sample + 1])
        steps, kinds = arrays.steps_E[own], arrays.neurons_E[own] // 5
        assert len(steps) == 10, "each of five inputs fires once in both bursts"
        assert np.unique(kinds[:5]).tolist() == [arrays.label_S[sample] // 2]
        assert np.unique(kinds[5:]).tolist() == [arrays.label_S[sample] % 2]
        assert 25 - 5 <= steps[5] - steps[0] <= 25 + 5
        starts.append(steps[0])
    assert len(set(starts)) > 5


def test_a_gap_without_room_is_refused():
    with pytest.raises(UserError, match=r"data.gap_steps=50 needs time_steps=70"):
        load_config(["task=temporal_order", "data.gap_steps=50"])
