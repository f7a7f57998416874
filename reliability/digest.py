"""A short hash of weights, states and settings, to compare two runs by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from app.resume.checkpoint import BEST, LAST, read_checkpoint
from app.run_files import CHECKPOINTS, METRICS, SUMMARY, read_summary


def digests_of(out: Path) -> dict[str, str]:
    """A hash of each part of a finished run that an interruption must not change."""
    last, best = (read_checkpoint(out / CHECKPOINTS / name) for name in (LAST, BEST))
    summary = read_summary(out / SUMMARY)
    del summary["train_s"], summary["code_version"]  # neither is a result
    return {
        "weights": digest(last["state_dict"]),
        "optimiser and schedule": digest([last["optimizer_states"], last["lr_schedulers"]]),
        "random states": digest(last["callbacks"]["RandomState"]),
        "position in the data": digest([value for key, value in last.items() if key.endswith("DataModule")]),
        "best checkpoint": digest([best[key] for key in ("state_dict", "optimizer_states", "epoch", "global_step")]),
        "metrics.csv": hashlib.sha256((out / METRICS).read_bytes()).hexdigest()[:16],
        "summary.json": digest(summary),
    }


def digest(value: Any) -> str:
    """16 digits of a SHA-256 over nested containers of numbers, text and tensors."""
    sha = hashlib.sha256()
    for part in _parts(value):
        sha.update(part)
    return sha.hexdigest()[:16]


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield repr(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}]".encode()
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value).encode()
