"""Runs on W&B's server, read through W&B's public API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UserError
from ..run_files import LARGEST, Row, Unusable, is_count, is_number, printable
from ..runs import Run, State, settings_of

STEP = "trainer/global_step"
STATES: dict[str, State] = {"finished": "finished", "crashed": "failed", "failed": "failed", "killed": "failed"}


def online_runs(project: str) -> tuple[list[Run], list[str]]:
    """All runs of a project, oldest first, and a sentence about each that has to be left out.

    Args:
        project: ``entity/project``.

    Raises:
        UserError: the server cannot be asked, or does not know the project.
    """
    import wandb

    runs: list[Run] = []
    left_out: list[str] = []
    try:
        for stored in wandb.Api().runs(project, order="+created_at", lazy=False):
            try:
                runs.append(online_run(stored))
            except Unusable as reason:
                left_out.append(f"{printable(str(stored.url))}: {reason}")
    except Exception as error:  # the client raises errors of its own, of requests and of the transport
        raise UserError(f"wandb:{project} cannot be read ({error}); check the name and 'wandb login'") from None
    return runs, left_out


def online_run(stored: Any) -> Run:
    """A run as the API gives it.

    Raises:
        Unusable: it is none of this project.
    """
    config = {key: value for key, value in dict(stored.config).items() if key != "_wandb"}
    settings = settings_of({key: value for key, value in config.items() if "." not in key})  # a sweep repeats some keys
    summary = {key: _value(value) for key, value in dict(stored.summary_metrics).items()}
    run = Run(str(stored.url), printable(str(stored.name)), str(stored.id), settings, summary=summary)
    run.state = STATES.get(stored.state, "unfinished")
    run.rows = _rows(stored.scan_history())
    run.code_version, run.data = (_text(config, summary, key) for key in ("code_version", "data_fingerprint"))
    return run


def _text(config: Mapping[str, Any], summary: Mapping[str, Any], key: str) -> str | None:
    value = summary.get(key) or config.get(key)
    return printable(value) if isinstance(value, str) else None


def _rows(history: Iterable[Mapping[str, Any]]) -> list[Row]:
    rows: dict[int, Row] = {}
    for logged in history:
        values = {key: _value(value) for key, value in logged.items()}
        step = values.get(STEP)
        if is_number(step) and 0 <= step < LARGEST:
            row = rows.setdefault(int(step), {"step": int(step)})
            row |= {key: value for key, value in values.items() if is_number(value) and key[0] != "_" and key != STEP}
            if "epoch" in row and not (is_count(row["epoch"]) or float(row["epoch"]).is_integer()):
                del row["epoch"]
    return [rows[step] for step in sorted(rows)]


def _value(value: Any) -> Any:
    """The server writes numbers that are not finite as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
