"""Every engine that is measured can train, and run forward alone."""

from benchmarks import engines


def test_every_engine_trains_and_infers():
    workload = engines.Workload(("20", "fc30", "fc10"), 10, 50)
    found = engines.engines("antlr")
    assert list(found) == ["numba", "reference", "per_step_loop"]
    for make in found.values():
        steps = make(workload, "antlr")
        steps.train()
        steps.infer()
