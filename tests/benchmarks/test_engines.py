"""Every engine that is measured can train, and run forward alone; every command still finds what it measures."""

import importlib
from pathlib import Path

import pytest

from benchmarks import density, engines, epoch, training_step

COMMANDS = sorted(path.stem for path in Path(engines.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported(name):
    importlib.import_module(f"benchmarks.{name}")


def test_what_is_clocked_is_what_the_application_calls():
    assert all(callable(getattr(owner, name)) for part in epoch.CLOCKED.values() for owner, name in part)


def test_the_quick_rows_are_rows():
    assert all(name in engines.WORKLOADS and rule in engines.RULES for name, rule in training_step.QUICK.items())
    assert set(training_step.FULL) == set(engines.WORKLOADS)
    assert all(rule in engines.RULES for rules in training_step.FULL.values() for rule in rules)


def test_engines_take_turns_over_the_grid():
    assert all(ms > 0 for ms in density.cpu_ms("antlr", 0.5, 32, 1))


def test_every_engine_trains_and_infers():
    workload = engines.Workload(("20", "fc30", "fc10"), 10, 50)
    found = engines.engines("antlr")
    assert list(found) == ["event_driven", "layerwise", "per_step_loop"]
    for make in found.values():
        steps = make(workload, "antlr")
        steps.train()
        steps.infer()
