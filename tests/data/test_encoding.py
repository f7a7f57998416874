from fractions import Fraction
from math import floor

import numpy as np
import pytest

from app.data.encoding import NEVER, encode_latency, latency_table


@pytest.mark.parametrize("max_value", [16, 255])
@pytest.mark.parametrize(("min_step", "max_step"), [(0, 24), (0, 25), (0, 85), (3, 54), (5, 5), (0, 1000)])
def test_table_equals_rational_arithmetic(max_value, min_step, max_step):
    """0..85 and 3..54 are limits where float64 goes wrong for some values, 0..25 where float32 does."""
    table = latency_table(max_value, min_step, max_step)
    exact = [floor(max_step - (max_step - min_step) * Fraction(v, max_value)) for v in range(1, max_value + 1)]
    assert table.tolist() == [NEVER, *exact]


def test_default_is_the_coding_of_the_specification():
    table = latency_table(255)
    assert table[255] == 0
    assert table[1] == 23
    assert table[85] == 16, "24 - 24 / 3 is exactly 16"
    assert table[84] == 16
    assert table[86] == 15


def loop_encode(images, table):
    return [sorted((int(table[v]), n) for n, v in enumerate(image) if v) for image in images]


@pytest.mark.parametrize("max_step", [24, 9000], ids=["one chunk", "many chunks"])
def test_encoding_equals_a_loop(max_step):
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (40, 784)) * (rng.random((40, 784)) < 0.3)).astype(np.uint8)
    images[[0, 17, 39]] = 0
    arrays = encode_latency(images, np.arange(40), 255, 0, max_step)
    expected = loop_encode(images, latency_table(255, 0, max_step))
    for sample, events in enumerate(expected):
        own = slice(arrays.offsets_S1[sample], arrays.offsets_S1[sample + 1])
        assert list(zip(arrays.steps_E[own].tolist(), arrays.neurons_E[own].tolist(), strict=True)) == events
    assert len(arrays.steps_E) == sum(map(len, expected)) == np.count_nonzero(images)
    assert arrays.label_S.tolist() == list(range(40))


@pytest.mark.parametrize("bad", [np.full((1, 4), 17), np.full((1, 4), -1), np.full((1, 4), 0.5)])
def test_images_outside_the_range_are_refused(bad):
    with pytest.raises(ValueError, match="max_value = 16"):
        encode_latency(bad, np.zeros(1), 16)
