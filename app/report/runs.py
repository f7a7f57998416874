"""W&B runs as plain data: offline ones from their logs on disk, online ones through W&B's API.

wandb 0.31 has no Python reader for its own log, so this file has one: records as in a LevelDB log, each a protobuf
message. ``tests/test_report_runs.py`` compares it with ``wandb leet inspect``, so that a change of format is noticed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError

STEP = "trainer/global_step"
HEADER = b":W&B"
HEADER_BYTES, BLOCK_BYTES, RECORD_HEADER = 7, 32768, struct.Struct("<IHB")
FULL, LAST = 1, 4
"""Kinds of a piece after which a record is complete."""


@dataclass
class Run:
    """One run: what it was, what it logged, how it ended.

    Args:
        id: W&B's id; the sessions of a resumed run share it.
        name: of the run.
        config: nested settings.
        summary: the last value of every metric.
        history: logged rows, first to last.
        exit_code: None while the run goes on, and for ever after it was killed.
        start_s: when it started, Unix time.
        sources: the log files, or the address.
    """

    id: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    start_s: float = 0.0
    sources: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """``finished``, ``failed``, or ``unfinished``: still going on, or killed."""
        return "unfinished" if self.exit_code is None else "failed" if self.exit_code else "finished"


def stored_runs(paths: Iterable[Path]) -> tuple[list[Run], list[Path]]:
    """All offline runs below some folders, oldest first, and the logs that hold none.

    A log without a run was cut off within its first second, or is damaged.
    """
    sessions, unreadable = [], []
    for path in paths:
        run = read_log(path)
        if run is None:
            unreadable.append(path)
        else:
            sessions.append(run)
    return merge_sessions(sessions), unreadable


def log_files(folder: Path) -> list[Path]:
    """The log files of all offline runs below a folder, or the file itself.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.exists():
        raise UserError(f"{folder} does not exist: give a folder that holds runs, for example runs")
    return [folder] if folder.is_file() else sorted({path.resolve() for path in folder.rglob("run-*.wandb")})


def merge_sessions(sessions: Iterable[Run]) -> list[Run]:
    """Runs from their sessions; where two logged the same steps, the later one counts, as it went on from there."""
    runs: dict[str, Run] = {}
    for session in sorted(sessions, key=lambda run: run.start_s):
        if session.id in runs:
            _go_on(runs[session.id], session)
        else:
            runs[session.id] = session
    return list(runs.values())


def _go_on(run: Run, later: Run) -> None:
    first = min((row[STEP] for row in later.history if STEP in row), default=None)
    if first is not None:
        run.history = [row for row in run.history if row.get(STEP, -1) < first]
    run.history += later.history
    run.summary |= later.summary
    run.config |= later.config
    run.exit_code = later.exit_code
    run.sources += later.sources


def read_log(path: Path) -> Run | None:
    """The session that a ``.wandb`` file holds; None if it holds none, or is no such file."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as messages

    run = Run(sources=[str(path)])
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


def _add(run: Run, record: Any) -> None:
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


def online_runs(project: str) -> list[Run]:
    """All runs of a project on W&B's server, oldest first.

    Args:
        project: ``entity/project``.

    Raises:
        UserError: the server cannot be asked, or does not know the project.
    """
    import wandb

    try:
        return [_online(run) for run in wandb.Api().runs(project, order="+created_at")]
    except Exception as error:  # the client raises errors of its own, of requests and of the transport
        raise UserError(f"wandb:{project} cannot be read ({error}); check the name and 'wandb login'") from None


def _online(run: Any) -> Run:
    code = {"finished": 0, "crashed": 1, "failed": 1}.get(run.state)
    history = [{key: _number(value) for key, value in row.items()} for row in run.scan_history()]
    summary = {key: _number(value) for key, value in dict(run.summary).items()}
    return Run(run.id, run.name, dict(run.config), summary, history, code, 0.0, [run.url])


def _number(value: Any) -> Any:
    """The server writes numbers that are not finite as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
