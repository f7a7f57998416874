"""The figures of finished runs in small files that are kept with the page: a JSON file for each experiment.

Runs weigh megabytes and stay where they were made. A record keeps, of every run of an experiment, its settings, its
code and data, and the final numbers of its ``summary.json``: from them the page can be written again, checked and
extended where the runs are not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..run_files import is_number
from ..runs import Run, settings_of
from .results import Result, result_of

BEST = "best/"
"""What :mod:`app.training.summary` puts before the metrics of the best epoch by validation."""
LEFT_OUT = ("out", "ckpt", "data.root", "data.cache", "tracking.name")
"""Settings that say where a run was, on a machine that nobody else has."""


def record_text(command: str, results: Sequence[Result]) -> str:
    """The record of an experiment: JSON, with a line for each run.

    Args:
        command: what ran it, without the paths of a machine.
        results: its runs; those of other states than ``finished`` are kept with their settings alone.
    """
    kept = [{key: value for key, value in one.settings.items() if key not in LEFT_OUT} for one in results]
    common = {key: value for key, value in kept[0].items() if all(key in own and own[key] == value for own in kept)}
    head = json.dumps({"command": command, "settings": common}, indent=1).removesuffix("\n}")
    lines = [
        json.dumps(_entry(one.run, {key: value for key, value in own.items() if key not in common}))
        for one, own in zip(results, kept, strict=True)
    ]
    return f'{head},\n "runs": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def _entry(run: Run, own: dict[str, Any]) -> dict[str, Any]:
    numbers = {key: value for key, value in run.summary.items() if is_number(value) and "/class" not in key}
    about = {"name": Path(run.source).name, "state": run.state, "code": run.code_version, "data": run.data}
    return {**about, "settings": own, "summary": {key: numbers[key] for key in numbers if key != "seed"}}


def read_record(path: Path, folder: Path) -> tuple[str, list[Result]]:
    """The command and the runs of a record.

    Args:
        path: the file.
        folder: where the runs were.

    Raises:
        UserError: the file is no record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return str(record["command"]), [_result(folder, record["settings"], entry) for entry in record["runs"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is no record of runs ({type(error).__name__}: {error}); write it again with "
            "'python -m app.report results --record' where the runs are, or remove it"
        ) from None


def _result(folder: Path, common: dict[str, Any], entry: dict[str, Any]) -> Result:
    """A run as it stands in a record: of its epochs there is the best one."""
    summary, name = entry["summary"], str(entry["name"])
    best = {key.removeprefix(BEST): value for key, value in summary.items() if key.startswith(BEST)}
    rows = [{"step": summary["steps"] - 1, "epoch": summary["best_epoch"] - 1, **best}] if best else []
    source = str(folder / name)
    settings = settings_of({**common, **entry["settings"]})
    return result_of(
        Run(
            source,
            name,
            source,
            settings,
            rows,
            summary,
            entry["state"],
            code_version=entry["code"],
            data=entry["data"],
        )
    )
