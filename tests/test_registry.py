"""Names and what they mean."""

import pytest

from app.errors import UserError
from app.registry import Registry


def test_a_name_is_found_listed_and_known_by_its_former_name():
    things: Registry[int] = Registry("thing")
    assert things.register("one", "uno")(1) == 1
    things.register("two")(2)
    assert (things["one"], things["uno"], list(things), len(things)) == (1, 1, ["one", "two"], 2)
    assert "uno" in things
    assert "three" not in things
    assert (things.name_of(2), things.name_of(3)) == ("two", None)


def test_an_unknown_name_is_answered_with_what_is_known():
    things: Registry[int] = Registry("thing")
    things.register("latency")(1)
    with pytest.raises(UserError, match=r"thing 'latenzy' is unknown, did you mean 'latency'\? known are latency"):
        things["latenzy"]


@pytest.mark.parametrize("name", ["One", "1", "", "a b", "a-b"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="lower-case"):
        Registry("thing").register(name)


def test_a_taken_name_is_refused_until_it_is_removed():
    things: Registry[int] = Registry("thing")
    things.register("one", "uno")(1)
    for taken in ("one", "uno"):
        with pytest.raises(ValueError, match="exists already"):
            things.register(taken)(2)
    things.remove("one")
    assert things.register("uno")(3) == 3
