"""Malformed inputs of every kind, and files that claim to be huge: refused in one sentence, or accepted and right."""

from pathlib import Path

import pytest

from app.selftest.inputs import kinds, try_inputs

ROOT = Path(__file__).parent.parent
EXAMPLES = 40
KINDS = {kind.name: kind for kind in kinds()}


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.cost == 1])
def test_whatever_comes_is_refused_in_a_sentence_or_accepted_and_right(name):
    tally = try_inputs(KINDS[name], EXAMPLES, seed=1)
    assert not tally.crashes, tally.crashes[0]
    assert tally.tried == EXAMPLES
    assert tally.refused >= 5
    assert tally.accepted >= 2


@pytest.mark.slow
def test_malformed_checkpoints_are_refused_or_trained_on():
    tally = try_inputs(KINDS["checkpoints"], 10 * 12, seed=1)
    assert not tally.crashes, tally.crashes[0]
    assert min(tally.refused, tally.accepted) >= 1
