"""Faults of checkpoint files: cut, changed, foreign, with code in them."""

from __future__ import annotations

import io
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.errors import UserError
from app.resume.checkpoint import BEST, LAST, PREVIOUS, read_checkpoint
from app.run_files import CHECKPOINTS
from reliability.bench import Bench, Outcome, wait_for
from reliability.digest import digest

CUTS = 200
FLIPS = 300


def refusal(path: Path) -> str:
    """Why a checkpoint is refused, "" when it is read."""
    try:
        read_checkpoint(path, to_resume=True)
    except UserError as error:
        return str(error)
    return ""


def truncated(bench: Bench) -> Outcome:
    """Checkpoint cut short."""
    content = (bench.whole / CHECKPOINTS / LAST).read_bytes()
    sizes = sorted({*range(10), *(len(content) * k // CUTS for k in range(CUTS)), len(content) - 1})
    path = bench.folder / "cut.ckpt"
    refused = 0
    for size in sizes:
        path.write_bytes(content[:size])
        refused += "cut.ckpt: the file is damaged" in refusal(path)
    return Outcome(f"{len(sizes)} lengths", f"{refused} refused by name", refused == len(sizes))


def changed(bench: Bench) -> Outcome:
    """Checkpoint with a flipped bit."""
    original = bench.whole / CHECKPOINTS / LAST
    content, expected = bytearray(original.read_bytes()), digest(read_checkpoint(original))
    path, chance = bench.folder / "flipped.ckpt", random.Random(0)
    refused = harmless = 0
    for _ in range(FLIPS):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        content[place] ^= bit
        if "flipped.ckpt" in refusal(path):
            refused += 1
        else:
            harmless += digest(read_checkpoint(path)) == expected
    happened = f"{refused} refused by name, {harmless} in bytes without meaning: read, the same content"
    return Outcome(f"{FLIPS} bits", happened, refused + harmless == FLIPS and refused > FLIPS // 2)


def foreign(bench: Bench) -> Outcome:
    """Foreign file instead of a checkpoint."""
    folder = bench.folder / "foreign"
    folder.mkdir()
    for name, content in _foreign_files().items():
        (folder / name).write_bytes(content)
    refused = sum(name.name in refusal(name) for name in folder.iterdir())
    ended = bench.train("of-foreign", f"ckpt={folder / 'text.ckpt'}")
    files = len(list(folder.iterdir()))
    happened = f"{refused} refused by name, exit code {ended.code}"
    return Outcome(f"{files} kinds", happened, refused == files and ended.code == 2)


def _foreign_files() -> dict[str, bytes]:
    other = {"state_dict": {"weight": torch.zeros(2)}, "epoch": 1}
    array = io.BytesIO()
    np.savez(array, weight=np.zeros(3))
    files = {"empty": b"", "text": b"not a checkpoint\n", "zeros": bytes(5000), "npz": array.getvalue()}
    files |= {"pickle": pickle.dumps({"epoch": 1}), "zip": _zip({"a.txt": b"text"})}
    files |= {"other-project": _saved(other), "list": _saved([1, 2]), "tensor": _saved(torch.zeros(3))}
    files |= {"old-format": _saved(other, _use_new_zipfile_serialization=False)}
    return {f"{name}.ckpt": content for name, content in files.items()}


def _saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


class _Calls:
    """Something that calls a function when it is unpickled carelessly."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def with_code(bench: Bench) -> Outcome:
    """Checkpoint that carries code."""
    content, harm = read_checkpoint(bench.whole / CHECKPOINTS / LAST), bench.folder / "harm"
    source = f"open({str(harm)!r}, 'w')"
    nested = pickle.dumps(_Calls(eval, source))
    loads = [
        _Calls(os.system, f"touch {harm}"),
        *(_Calls(eval, source), _Calls(exec, source), _Calls(open, str(harm), "w"), _Calls(os.mkdir, str(harm))),
        *(_Calls(torch.load, str(harm)), _Calls(__import__, "antigravity"), _Calls(pickle.loads, nested)),
    ]
    path = bench.folder / "harmful.ckpt"
    refused = 0
    for load in loads:
        for new in (True, False):
            path.write_bytes(_saved({**content, "extra": load}, _use_new_zipfile_serialization=new))
            refused += "harmful.ckpt" in refusal(path)
    happened = f"{refused} refused by name, {'code was run' if harm.exists() else 'no code run'}"
    return Outcome(f"{2 * len(loads)} files", happened, refused == 2 * len(loads) and not harm.exists())


def odd_tensors(bench: Bench) -> Outcome:
    """Checkpoint with tensors that are no plain arrays."""
    content = read_checkpoint(bench.whole / CHECKPOINTS / LAST)
    weight = next(iter(content["state_dict"].values()))
    odd = (weight.to_sparse(), weight.to("meta"), weight.to(torch.complex64), torch.zeros(1).expand(2**40), weight / 0)
    places = ("state_dict", "optimizer_states", "callbacks")
    path = bench.folder / "odd.ckpt"
    refused = 0
    for value in odd:
        for place in places:
            part = content[place]
            spoiled = {**part, "x": value} if isinstance(part, dict) else [{**part[0], "x": value}]
            path.write_bytes(_saved({**content, place: spoiled}))
            refused += "odd.ckpt" in refusal(path)
    files = len(odd) * len(places)
    return Outcome(f"{files} files", f"{refused} refused by name", refused == files)


def last_damaged(bench: Bench) -> Outcome:
    """Newest checkpoint damaged after a kill."""
    with bench.begun("fallback") as child:
        wait_for((child.out / CHECKPOINTS / PREVIOUS).exists, child)
    last = bench.folder / "fallback" / CHECKPOINTS / LAST
    content = last.read_bytes()
    last.unlink()  # it may just be the same file as the one before
    last.write_bytes(content[:-1000])
    ended = bench.train("fallback", "ckpt=last")
    warned = "is damaged and was set aside" in ended.warning("last.ckpt")
    same = ended.code == 0 and bench.is_whole("fallback")
    happened = "a warning; the one before is taken, the same bits at the end" if warned and same else ended.sentence
    return Outcome("1 run", happened, warned and same)


def all_damaged(bench: Bench) -> Outcome:
    """All checkpoints damaged."""
    shutil.copytree(bench.whole, bench.folder / "ruined")
    folder = bench.folder / "ruined" / CHECKPOINTS
    for path in folder.iterdir():
        path.write_bytes(b"broken")
    ended = bench.train("ruined", "ckpt=last")
    kept = {path.name for path in folder.iterdir()} == {LAST, PREVIOUS, BEST}
    refused = ended.code == 2 and ended.is_sentence and "no checkpoint is intact" in ended.sentence
    return Outcome("1 run", f"exit code {ended.code}, one sentence, no file touched", refused and kept, "the run")


FAULTS = (truncated, changed, foreign, with_code, odd_tensors, last_damaged, all_damaged)
