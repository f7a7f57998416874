"""Malformed golden files and checkpoints as hypothesis strategies, and what reading them must give.

Both start from a good file that the project itself makes: parts are dropped or replaced, then bytes are changed.
"""

from __future__ import annotations

import copy
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st

from app.resume.checkpoint import LAST, read_checkpoint
from app.run_files import CHECKPOINTS
from app.verify import CONSTANTS, Case, read_case, replay
from reliability.malformed_data import Edit, apply_edits

STEPS, BATCH = 4, 2
JUNK = [None, True, 0, -1, 3, 10**400, 0.5, float("nan"), float("inf"), 1e300, "", "a", [], ["fc2"], {}, {"a": 1}]
SPECS = [
    ["3", "fc2"],
    ["3", "fc9999999999"],
    ["3", "fc2", "x"],
    "fc2",
    [],
    ["1x8x8", "conv2c3", "flatten", "fc2"],
    [3, 2],
]


class Change(NamedTuple):
    """One part of a file replaced; ``where`` picks the part, modulo their number, and DROP removes it."""

    where: int
    value: Any


DROP = object()


class Malformed(NamedTuple):
    """Changes of the parts of a good file, then of its bytes."""

    changes: list[Change]
    edits: list[Edit]


def _malformed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Malformed]:
    edit = st.tuples(
        st.sampled_from(["replace", "insert", "delete", "cut"]), st.integers(0, 2**20), st.binary(max_size=4)
    )
    change = st.builds(Change, st.integers(0, 2**16), st.just(DROP) | values)
    changed, damaged = st.lists(change, min_size=1, max_size=2), st.lists(edit, min_size=1, max_size=2)
    return st.one_of(
        st.builds(Malformed, changed, st.just([])), st.builds(Malformed, st.just([]), damaged | st.just([]))
    )


# --- golden files -----------------------------------------------------------------------------------------------------


@cache
def good_case() -> dict[str, Any]:
    """The entries of ``meta`` and the arrays of a proper golden file, computed by the plain backend."""
    meta: dict[str, Any] = dict.fromkeys(CONSTANTS, 1.0) | {"network": ["3", "fc2"], "rule": "ANTLR", "loss": "count"}
    meta |= {"T": STEPS, "B": BATCH, "alpha_v": 0.9, "alpha_i": 0.9, "no_spike_penalty": 0.0}
    random = np.random.default_rng(0)
    arrays = {"input": random.integers(0, 2, (BATCH, STEPS, 3)), "label": np.array([0, 1]), "loss": np.array(0.0)}
    arrays |= {"target_count": np.ones((BATCH, 2)), "target_spikes": np.ones((BATCH, STEPS, 2))}
    arrays |= {f"dL_d{channel}_out": np.zeros((BATCH, STEPS, 2)) for channel in "St"}
    arrays |= {"layer1.weight": np.ones((2, 3)), "layer1.bias": np.zeros(2), "layer1.S": np.zeros((BATCH, STEPS, 2))}
    arrays |= {"layer1.grad_weight": np.zeros((2, 3)), "layer1.grad_bias": np.zeros(2)}
    return {f"meta.{key}": value for key, value in meta.items()} | arrays


def golden_files() -> st.SearchStrategy[Malformed]:
    """Golden files with entries of ``meta`` or arrays that are missing or wrong, or with changed bytes."""
    shapes = [(), (0,), (2,), (2, 3), (2, 4, 3), (1, 1, 1, 1)]
    kinds = ["f8", "f4", "i8", "u1", "?", "U3", "c16", "S2", "V4", "M8[s]", "O"]
    arrays = st.builds(lambda shape, kind: np.zeros(shape, kind), st.sampled_from(shapes), st.sampled_from(kinds))
    return _malformed(st.one_of(st.sampled_from(JUNK), st.sampled_from(SPECS), arrays))


def use_golden_file(value: Malformed, folder: Path) -> None:
    """Read a golden file and replay it: whatever was accepted can be computed, right or wrong."""
    parts = _changed(dict(good_case()), value.changes)
    meta = {key.removeprefix("meta."): v for key, v in parts.items() if key.startswith("meta.")}
    arrays = {key: np.asarray(v) for key, v in parts.items() if not key.startswith("meta.")}
    content = io.BytesIO()
    text = json.dumps(meta, default=lambda array: array.tolist() if array.dtype.kind in "fiub" else str(array))
    np.savez(content, meta=np.frombuffer(text.encode(), np.uint8), **arrays)
    path = folder / "input.npz"
    path.write_bytes(apply_edits(content.getvalue(), value.edits))
    case: Case = read_case(path)
    for engine in ("reference", "numba"):
        outcome = replay(case, engine, "cpu")
        assert outcome.errors.keys() >= {"loss", "dweight1"}


def _changed(parts: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    for where, value in changes:
        name = list(parts)[where % len(parts)] if parts else "meta.T"
        if value is DROP:
            del parts[name]
        else:
            parts[name] = value
    return parts


# --- checkpoints ------------------------------------------------------------------------------------------------------

SETTINGS = [
    "network=[64,fc4,fc10]",
    "time_steps=12",
    "data.latency_max_steps=8",
    "data.batch_size=8",
    "engine=reference",
]
SETTINGS += ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
SETTINGS += ["trainer.limit_test_batches=1", "trainer.enable_progress_bar=false", "tracking.mode=disabled"]
SETTINGS += ["probes.raster=false"]


@cache
def good_checkpoint() -> dict[str, Any]:
    """The content of the last checkpoint of a real, short run."""
    with tempfile.TemporaryDirectory(prefix="antlr-snn-inputs-") as folder:
        _train([*SETTINGS, f"out={folder}/run"])
        return read_checkpoint(Path(folder) / "run" / CHECKPOINTS / LAST, to_resume=True)


def _train(argv: list[str]) -> None:
    import train

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        train.main(argv)


def checkpoints() -> st.SearchStrategy[Malformed]:
    """Checkpoints with parts, at any depth, that are missing or of another type or shape, or with changed bytes."""
    shapes = [(), (0,), (3,), (4, 64), (64, 4)]
    tensors = st.builds(torch.zeros, st.sampled_from(shapes), dtype=st.sampled_from([torch.float32, torch.int64]))
    huge = st.just(torch.zeros(1).expand(2**40))
    odd = st.sampled_from([torch.full((10, 4), float("nan")), torch.full((4,), float("inf"))])
    return _malformed(st.one_of(st.sampled_from(JUNK), tensors, huge, odd))


def use_checkpoint(value: Malformed, folder: Path) -> None:
    """Go on from a checkpoint that was changed."""
    content = copy.deepcopy(good_checkpoint())
    for where, new in value.changes:
        places = _places(content)
        owner, key = places[where % len(places)]
        if new is DROP:
            del owner[key]
        else:
            owner[key] = new
    go_on_from(content, folder, value.edits)


def go_on_from(content: dict[str, Any], folder: Path, edits: Sequence[Edit] = ()) -> None:
    """Train from a checkpoint's content for one more epoch; the weights it ends with are finite."""
    path, out = folder / "input.ckpt", folder / "input-run"
    torch.save(content, path)
    path.write_bytes(apply_edits(path.read_bytes(), edits))
    _train([f"ckpt={path}", f"out={out}", "trainer.max_epochs=2", "config=digits_antlr", *SETTINGS[:5], *SETTINGS[6:]])
    after = torch.load(out / CHECKPOINTS / LAST, weights_only=True)
    assert all(torch.isfinite(weight).all() for weight in after["state_dict"].values())


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) at which a part of the content can be replaced; of long lists the first few."""

    def walk(owner: Any) -> Iterator[tuple[Any, Any]]:
        entries = owner.items() if isinstance(owner, dict) else enumerate(owner[:4])
        for key, part in entries:
            yield owner, key
            if isinstance(part, dict | list) and part:
                yield from walk(part)

    return list(walk(content))
