"""The clock around the parts of an epoch: what it is put on is there."""

import inspect

from benchmarks import epoch


def test_what_is_clocked_exists_where_the_run_looks_it_up():
    for owner, name in (place for places in epoch.CLOCKED.values() for place in places):
        assert callable(getattr(owner, name)), name
        assert inspect.ismodule(owner)
