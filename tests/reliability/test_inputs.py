"""Malformed inputs of every kind, and files that claim to be huge: refused in one sentence, or accepted and right."""

import copy
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from app.config import load_config
from app.errors import UserError
from app.network import Network
from app.neuron.lif import Neuron
from app.resume.checkpoint import read_checkpoint
from app.rules import antlr
from app.training.start import prepare
from app.verify import read_case
from reliability import __main__ as selftest
from reliability import inputs
from reliability.inputs import Kind, kinds, try_inputs
from reliability.malformed_models import DROP, go_on_from, good_case, good_checkpoint
from tests.support import ROOT

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


# --- what was found ---------------------------------------------------------------------------------------------------


def saved(path: Path, **changes) -> Path:
    torch.save({**good_checkpoint(), **changes}, path)
    return path


def changed(place: tuple, value) -> dict:
    """A good checkpoint with another value at a place; DROP removes what is there."""
    content = copy.deepcopy(good_checkpoint())
    owner = content
    for key in place[:-1]:
        owner = owner[key]
    assert place[-1] in owner
    if value is DROP:
        del owner[place[-1]]
    else:
        owner[place[-1]] = value
    return content


FIRST = ("optimizer_states", 0, "state", 0)
STILL = {"lr": 1e-3, "params": [0, 1, 2, 3]}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((*FIRST, "exp_avg"), torch.zeros(3)),  # the fused Adam wrote past the end of the smaller array
        ((*FIRST, "exp_avg_sq"), DROP),
        (("optimizer_states", 0, "state"), {}),  # another run from here on: the moments would start anew
        (("optimizer_states", 0, "state"), {0: torch.zeros(3)}),
        (("optimizer_states",), []),
        (("optimizer_states",), [{"state": {}, "param_groups": [STILL]}]),
        (("optimizer_states", 0, "param_groups", 0, "differentiable"), torch.ones(10, 4)),
        (("lr_schedulers", 0, "last_epoch"), ["fc2"]),
        (("lr_schedulers", 0, "base_lrs"), 3),
        (("callbacks", "RunningMetrics", "ranks", 0, "correct_first_C"), torch.full((4,), float("inf"))),
    ],
)
def test_states_that_no_run_leaves_are_refused_before_the_first_step(place, value, tmp_path):
    with pytest.raises(UserError, match="use another one"):
        go_on_from(changed(place, value), tmp_path)


SHAPE = (4, 64)
ODD = {
    "sparse": lambda: torch.zeros(SHAPE).to_sparse(),
    "huge sparse": lambda: torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (2**31, 2**31)),
    "compressed": lambda: torch.eye(*SHAPE).to_sparse_csr(),
    "meta": lambda: torch.zeros(SHAPE, device="meta"),
    "complex": lambda: torch.zeros(SHAPE, dtype=torch.complex64),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(SHAPE), 0.1, 0, torch.quint8),
    "huge": lambda: torch.zeros(1).expand(2**40),
    "infinite": lambda: torch.full(SHAPE, float("inf")),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "place", [("state_dict", "network.layers.0.weight"), (*FIRST, "exp_avg"), ("callbacks", "RandomState", "ranks")]
)
def test_tensors_that_are_no_plain_arrays_are_refused_wherever_they_are(place, kind, tmp_path):
    torch.save(changed(place, ODD[kind]()), tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match=r"dense array of real numbers|claims more|not finite|damaged") as refused:
        read_checkpoint(tmp_path / "bad.ckpt")
    assert place[-1] in str(refused.value) or "damaged" in str(refused.value)


def test_a_list_that_holds_itself_is_looked_at_once(tmp_path):
    endless = []
    endless.append(endless)
    torch.save({**good_checkpoint(), "extra": endless}, tmp_path / "odd.ckpt")
    assert read_checkpoint(tmp_path / "odd.ckpt")["epoch"] == 0


def loop_of_links(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [loop_of_links, os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["o/checkpoints/last.ckpt", "x" * 300])
def test_what_is_no_file_is_no_checkpoint(make, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "/" in name:
        Path(name).parent.mkdir(parents=True)
        make(Path(name))
    with pytest.raises(UserError, match=r"no such checkpoint|is a folder|holds no run|is too long"):
        prepare([f"ckpt={name}"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epoch": "1"}, "its 'epoch' is missing or of another kind"),
        ({"global_step": True}, "its 'global_step' is missing or of another kind"),
        ({"config": [1]}, "its 'config' is missing or of another kind"),
        ({"optimizer_states": {}}, "not trained on, its 'optimizer_states' is missing or of another kind"),
        ({"metrics": {"rows": "3"}}, "not trained on, its 'metrics.rows' is missing or of another kind"),
        ({"format": 99}, "format 99 is of a later version"),
        ({"format": "a"}, "format a is of a later version"),
        ({"state_dict": {"network.layers.0.weight": torch.zeros(1).expand(2**40)}}, "claims more numbers than"),
        ({"state_dict": {"network.layers.0.weight": torch.full((4, 64), float("nan"))}}, "not finite"),
    ],
)
def test_checkpoints_of_another_structure_are_refused(changes, named, tmp_path):
    with pytest.raises(UserError, match=named):
        read_checkpoint(saved(tmp_path / "bad.ckpt", **changes), to_resume=True)


def test_a__is_refused(tmp_path):
    """Reading it could take any amount of memory; torch.save never compresses."""
    with zipfile.ZipFile(saved(tmp_path / "good.ckpt")) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(tmp_path / "bad.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, content)
    assert torch.load(tmp_path / "bad.ckpt", weights_only=True)["epoch"] == 0
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "bad.ckpt")


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_not_positive_is_refused(threshold):
    """The padding of the numba kernels fired at 0 and wrote past the end of its lists."""
    with pytest.raises(ValueError, match="threshold"):
        Neuron(0.9, 0.9, 1.0, threshold=threshold)


def golden(path: Path, compress=zipfile.ZIP_STORED, **arrays) -> Path:
    """A golden file with other arrays or, for ``meta_…``, other entries of ``meta``."""
    parts = good_case() | {key.replace("meta_", "meta."): value for key, value in arrays.items()}
    meta = {key.removeprefix("meta."): value for key, value in parts.items() if key.startswith("meta.")}
    parts = {key: value for key, value in parts.items() if not key.startswith("meta.")}
    with zipfile.ZipFile(path, "w", compress) as archive:
        for key, value in {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), **parts}.items():
            content = value if isinstance(value, bytes) else npy(np.asarray(value))
            archive.writestr(f"{key}.npy", content)
    return path


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """A file in NumPy's format, whose header claims another shape if one is given."""
    content = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"meta_rule": []}, "'rule' in 'meta' must be text"),
        ({"meta_alpha_v": 10**400}, "alpha_v="),
        ({"meta_T": True}, "T=True"),
        ({"meta_threshold": 0}, "threshold"),
        ({"meta_threshold": True}, "threshold=True"),
        ({"meta_beta_v": 1e300}, r"beta_v=1e\+300 in 'meta' must be a number of at most 3.4e\+38"),
        ({"meta_max_spikes_per_neuron": "1"}, "max_spikes_per_neuron"),
        ({"meta_network": ["3", "fc16777217"]}, "neurons"),
        ({"meta_network": ["3", "fc9999999"]}, "has shape"),
        ({"input": np.array([None])}, "Object arrays cannot be loaded"),
    ],
)
def test_golden_files_that_crashed_are_refused(parts, named, tmp_path):
    if "input" in parts:
        np.savez(tmp_path / "bad.npz", **parts)
    else:
        golden(tmp_path / "bad.npz", **parts)
    with pytest.raises(UserError, match=named):
        read_case(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (["784", "fc99999999999"], r"'fc99999999999', would have 1e\+11 neurons"),
        (["16000000", "fc1000"], r"1\.6e\+10 weights"),
        (["1x99999x99999", "apool3", "flatten", "fc10"], "neurons"),
        (["3x100x100", "conv16777216c3", "flatten", "fc10"], "neurons"),
        (["9000x1x1", "conv9000c3", "flatten", "fc10"], "weights"),
    ],
)
def test_layers_that_no_memory_holds_are_refused_at_once(spec, named):
    with pytest.raises(ValueError, match=named):
        Network(spec, Neuron.auto(0.9, 0.9, 10), antlr())


def test_the_refusal_of_a_long_value_is_short():
    with pytest.raises(UserError, match=r"tracking\.tags expects list of text") as caught:
        load_config(["tracking.tags=" + "9" * 5000])
    assert len(str(caught.value)) < 300


# --- hostile sizes, in a process that may have 1 GB more than it has when it starts -----------------------------------

LIMITED = """
import resource, sys
from pathlib import Path
from app.errors import run_command
{imports}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10**9, used + 10**9))
run_command(lambda argv: {call} and 0)
"""
READERS = {
    "idx": ("from app.data.idx import read_idx", "read_idx(Path(argv[0]), (28, 28)) is None"),
    "nmnist": ("from app.data.tasks.nmnist import NMNIST", "NMNIST(argv[0], 'cache').load_train_val(300, 0)"),
    "archive": ("from app.data.nmnist_files import unpack", "unpack(Path(argv[0]), Path('.'), 'Train')"),
    "golden": ("from app.verify import main", "main(argv)"),
    "checkpoint": ("from app.resume.checkpoint import read_checkpoint", "read_checkpoint(Path(argv[0]), True)"),
}


def idx_header(path: Path, items: int) -> Path:
    path.write_bytes(bytes([0, 0, 8, 3]) + np.array([items, 28, 28], ">u4").tobytes() + bytes(1000))
    return path


def idx_bomb(path: Path) -> Path:
    """Five MB that unpack to 5 GB, in many members of gzip."""
    header = gzip.compress(bytes([0, 0, 8, 3]) + np.array([300_000, 28, 28], ">u4").tobytes())
    path.write_bytes(header + gzip.compress(bytes(2**24)) * 300)
    return path


def sparse_recording(path: Path) -> Path:
    """A recording of 10^9 events that takes no room on the disk."""
    for label in range(10):
        (path / f"Train/{label}").mkdir(parents=True)
        (path / f"Train/{label}/1.bin").write_bytes(bytes([1, 2, 0x80, 0, 9]))
    with (path / "Train/7/2.bin").open("wb") as file:
        file.truncate(5 * 10**9)
    return path


def bomb(path: Path, name: str, size: int) -> Path:
    """An archive with a member of zeros that is a thousandth of its size when packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, block * (size // 2**24) + packer.flush())
        archive.getinfo(name).compress_type, archive.getinfo(name).file_size = zipfile.ZIP_DEFLATED, size
    return path


HOSTILE = {
    "idx header of 2 GB": ("idx", lambda folder: idx_header(folder / "x", 2_738_000)),
    "idx header of 3 TB": ("idx", lambda folder: idx_header(folder / "x", 2**32 - 1)),
    "gzip bomb": ("idx", lambda folder: idx_bomb(folder / "x.gz")),
    "recording of 5 GB": ("nmnist", sparse_recording),
    "archive of 8 GB": ("archive", lambda folder: bomb(folder / "x.zip", "Train/0/1.bin", 2**33)),
    "golden array of 8 GB": ("golden", lambda folder: bomb(folder / "x.npz", "meta.npy", 2**33)),
    "golden header of 8 TB": (
        "golden",
        lambda folder: golden(folder / "x.npz", input=npy(np.zeros(3), shape=(2**40,))),
    ),
    "golden network of 1 TB": (
        "golden",
        lambda folder: golden(folder / "x.npz", meta_network=["1000000", "fc1000000"]),
    ),
    "checkpoint of a bomb": ("checkpoint", lambda folder: bomb(folder / "x.ckpt", "x/data.pkl", 2**33)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sizes_are_refused_within_a_gigabyte(name, tmp_path):
    reader, make = HOSTILE[name]
    imports, call = READERS[reader]
    path = make(tmp_path)
    code = LIMITED.format(imports=imports, call=call)
    command = [sys.executable, "-c", code, str(path)]
    before = {entry for entry in tmp_path.rglob("*") if entry.is_file()}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert path.name in done.stderr or "2.bin" in done.stderr
    assert {entry for entry in tmp_path.rglob("*") if entry.is_file()} == before


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_it(tmp_path, monkeypatch, capsys):
    few = [kind for kind in kinds() if kind.name in ("IDX files", "network specifications")]
    written = []
    monkeypatch.setattr(inputs, "kinds", lambda: few)
    monkeypatch.setattr(inputs, "write_section", lambda *args: written.append(args))
    assert selftest.main(["inputs", "--examples", "20", "--seed", "3", "--write"]) == 0
    printed = capsys.readouterr().out
    assert "IDX files" in printed
    assert "0 crashes" in printed
    ((name, command, body),) = written
    assert (name, command) == ("inputs", "inputs --examples 20 --seed 3")
    assert body.count("\n") == 3


def test_a_crash_and_a_file_left_behind_are_counted(monkeypatch, capsys):
    def crash(value, folder):
        if value > 3:
            (folder / "left").touch()
            raise UserError("no")
        raise ValueError("traceback")

    monkeypatch.setattr(inputs, "kinds", lambda: [Kind("numbers", st.integers(0, 9), crash)])
    assert inputs.main(["--examples", "30"]) == 1
    printed = capsys.readouterr().out
    assert "['left'] is left" in printed
    assert "ValueError: traceback for 0" in printed


def test_without_hypothesis_the_command_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(UserError, match=r"needs hypothesis: pip install -r requirements-dev\.txt"):
        inputs.kinds()
