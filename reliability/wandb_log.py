"""What a W&B run's log on the disk holds: a second opinion on what the application wrote.

wandb 0.31 has no Python reader for its own log, so this file has one: records as in a LevelDB log, each a protobuf
message. ``tests/reliability/test_wandb_log.py`` compares it with ``wandb leet inspect``, so that a change of format is
noticed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEP = "trainer/global_step"
HEADER = b":W&B"
HEADER_BYTES, BLOCK_BYTES, RECORD_HEADER = 7, 32768, struct.Struct("<IHB")
FULL, LAST = 1, 4
"""Kinds of a piece after which a record is complete."""


@dataclass
class Session:
    """One session of a run.

    Args:
        id: W&B's id; the sessions of a resumed run share it.
        name: of the run.
        config: nested settings.
        summary: the last value of every metric.
        history: logged rows, first to last.
        exit_code: None while the session goes on, and for ever after it was killed.
        start_s: when it started, Unix time.
    """

    id: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    start_s: float = 0.0


def read_log(path: Path) -> Session | None:
    """The session that a ``.wandb`` file holds; None if it holds none, or is no such file."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as messages

    run = Session()
    try:
        for content in _records(path.read_bytes()):
            _add(run, messages.Record.FromString(content))
    except (DecodeError, OSError, ValueError):
        return None
    run.config.pop("_wandb", None)
    return run if run.id else None


def _records(log: bytes) -> Iterator[bytes]:
    """The records of a log; a record torn off at the end of a killed run's log is left out."""
    if log[:4] != HEADER:
        return
    position, pieces = HEADER_BYTES, []
    while position + RECORD_HEADER.size <= len(log):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < RECORD_HEADER.size:
            position += left
            continue
        _, size, kind = RECORD_HEADER.unpack_from(log, position)
        position += RECORD_HEADER.size
        if kind == 0 or position + size > len(log):
            return
        pieces.append(log[position : position + size])
        position += size
        if kind in (FULL, LAST):
            yield b"".join(pieces)
            pieces = []


def _add(run: Session, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.id, run.name = record.run.run_id, record.run.display_name
        run.start_s = record.run.start_time.ToMicroseconds() / 1e6
        _update(run.config, record.run.config.update)
    elif kind == "config":
        _update(run.config, record.config.update)
    elif kind == "summary":
        _update(run.summary, record.summary.update)
    elif kind == "history":
        run.history.append({"/".join(item.nested_key) or item.key: _value(item) for item in record.history.item})
    elif kind == "exit":
        run.exit_code = record.exit.exit_code


def _update(tree: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
        branch[last] = _value(item)


def _value(item: Any) -> Any:
    return json.loads(item.value_json)
