"""Imports point downward only (docs/DESIGN: the plan), and only two files know wandb."""

import ast
from pathlib import Path

import pytest

from tests.support import ROOT

APP = ROOT / "app"
LAYERS = [
    {"app.environment", "app.leaving"},
    {"app", "app.output"},
    {"app.errors"},
    {"app.arguments", "app.best", "app.markdown"},
    {
        "app.autograd",
        "app.events",
        "app.files",
        "app.lock",
        "app.names",
        "app.registry",
        "app.run_files",
        "app.seeds",
        "app.settings",
        "app.version",
    },
    {"app.colours", "app.equations", "app.notice"},
    {"app.neuron"},
    {"app.activity", "app.golden", "app.kernels", "app.readout"},
    {"app.pictures"},
    {"app.rules", "app.losses", "app.data", "app.landscape"},
    {"app.jumps", "app.layers"},
    {"app.engines"},
    {"app.network"},
    {"app.exact", "app.exchange", "app.metrics", "app.finite", "app.operations", "app.portraits"},
    {"app.running"},
    {"app.landscape.callback", "app.resume"},
    {"app.callbacks"},
    {"app.config"},
    {"app.runs"},
    {"app.training.module", "app.tracking"},
    {"app.training"},
    {"app.landscape.checkpoint", "app.verify", "app.report"},
    {"app.evaluate", "app.costs", "app.export", "app.landscape.networks", "app.plot", "app.predict"},
    {"app.landscape.study", "app.sweep"},
    {"app.landscape.__main__"},
    {"app.cli", "app.train"},
    {"app.completion"},
]
FILES = sorted(APP.rglob("*.py"))
NAMED_IN_TYPES = {"app.network", "app.network.Network"}
"""What engines run, and import for annotations only."""
READS_CONFIG = {
    "app.cli",
    "app.completion",
    "app.config",
    "app.costs",
    "app.plot",
    "app.tracking",
    "app.train",
    "app.training",
    "app.evaluate",
    "app.landscape",
    "app.report",
    "app.runs",
    "app.sweep",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(APP.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    names = set()
    folder = (APP.parent.name, *path.relative_to(APP.parent).parent.parts)[1:]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(folder[: len(folder) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (package, node.module) if part)
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def unit_of(name: str) -> tuple[int, str]:
    """The layer and the unit (the longest listed prefix) that a module belongs to."""
    best = max(
        ((unit, rank) for rank, units in enumerate(LAYERS) for unit in units if f"{name}.".startswith(f"{unit}.")),
        key=lambda pair: len(pair[0]),
    )
    return best[1], best[0]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_downward(path):
    name = module_name(path)
    rank, unit = unit_of(name)
    if name == "app":
        return  # names for a notebook, imported when they are asked for
    for other in imported(path) - (NAMED_IN_TYPES if name.startswith("app.engines") else set()):
        if other.startswith("app.") and (APP.parent / Path(*other.split("."))).with_suffix(".py").exists():
            other_rank, other_unit = unit_of(other)
            assert other_unit == unit or other_rank < rank, f"{name} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_are_relative(path):
    """So that the package works under both of its names, ``app`` here and ``antlr_snn`` where it is installed."""
    assert not {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.split(".")[0] == "app"
    }
    assert not {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "app"
    }


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_module_has_a_place_in_the_plan(path):
    assert unit_of(module_name(path))[1] != "app" or module_name(path) == "app"


def test_one_file_writes_wandb_runs_and_one_reads_them():
    """The reader needs W&B's public API and no trainer; the writer needs Lightning: hence two files.

    The third imports it ahead, for runs.
    """
    users = {module_name(p) for p in FILES if any(i.split(".")[0] == "wandb" for i in imported(p))}
    assert users == {"app.tracking", "app.report.online", "app.sweep.ready"}


def test_the_core_needs_neither_omegaconf_nor_lightning():
    core = [
        p
        for p in FILES
        if unit_of(module_name(p))[0] <= 10 and not module_name(p).startswith(("app.notice", "app.data"))
    ]
    assert len(core) > 15
    for path in core:
        assert not {i.split(".")[0] for i in imported(path)} & {"omegaconf", "lightning", "wandb"}, path


def test_config_objects_are_read_in_few_places():
    for path in FILES:
        if any(i.startswith("app.config") for i in imported(path)):
            assert any(module_name(path).startswith(unit) for unit in READS_CONFIG), path


def test_the_files_of_a_run_have_one_parser():
    """A second parser of ``metrics.csv``, ``summary.json`` or ``config.yaml`` would take other files for whole ones."""
    parsers = {
        "csv.reader": set(),
        "csv.DictReader": set(),
        # of golden files, of records of runs, of jobs, of requests
        "json.loads": {"app.verify", "app.report.records", "app.sweep.slurm", "app.sweep.forks"},
        "json.load": set(),
        "yaml.load": {"app.config.read", "app.sweep.launchers"},  # of settings that a user names
        "yaml.safe_load": {"app.report.experiments"},  # of docs/experiments.yaml
    }
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in parsers:
                assert module_name(path) in {"app.run_files", *parsers[name]}, f"{path} calls {name}"
    for name in ('"config.yaml"', '"metrics.csv"', '"summary.json"', '"wandb_id"'):
        assert [module_name(path) for path in FILES if name in path.read_text()] == ["app.run_files"]


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_imports_another(path):
    """What tests share stands in tests/support, which imports no test either."""
    stems = {other.stem for other in TESTS if other.stem.startswith("test_")}
    for name in imported(path):
        assert not stems & set(name.split(".")), f"{name} is a test; move what is shared to tests/support"
        assert name == "tests" or not name.startswith("tests.") or name.startswith("tests.support"), name


def test_tests_mirror_the_folders():
    rooms = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert rooms <= {path.name for path in APP.iterdir()} | {"benchmarks", "reliability"}
