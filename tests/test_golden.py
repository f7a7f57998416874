"""The golden files, computed by an independent implementation, through every engine (Triton's: test_triton.py)."""

import pytest

from app import verify
from app.engines import ENGINES
from tests.support import ROOT

CASES = sorted((ROOT / "tests/golden").glob("*.npz"))


@pytest.mark.parametrize("engine", ["layerwise", "event_driven"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_files(path, engine):
    case = verify.read_case(path)
    assert engine in [name for name, *_ in verify.backends(case)], "the engine refuses the case"
    outcome = verify.replay(case, engine, "cpu")
    assert outcome.passed(verify.TOLERANCE), outcome


def test_the_files_know_every_kind_of_rule_loss_and_layer():
    cases = [verify.read_case(path) for path in CASES]
    assert {case.meta["rule"] for case in cases} >= {"Activation", "Activation-SLAYER", "Timing", "ANTLR"}
    assert {case.meta["loss"] for case in cases} == {"count", "latency", "train"}
    assert any("conv" in entry for case in cases for entry in case.meta["network"])
    assert set(ENGINES) >= {"layerwise", "event_driven", "triton"}
