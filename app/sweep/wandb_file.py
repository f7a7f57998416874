"""The same grid as a W&B sweep file, so that agents on many machines can share it."""

from __future__ import annotations

from typing import Any

import yaml

from ..best import measure_of
from .plan import Plan


def sweep_file(plan: Plan) -> str:
    """YAML for ``wandb sweep FILE``; every agent then runs ``train.py`` with ``key=value`` arguments.

    What is optimised is the best epoch by validation, as here, not the last. Each run's folder is named after W&B's id
    (:func:`app.config.environment.agent_run`), so that agents may share a directory.
    """
    config = plan.trials()[0].config
    measure = measure_of(config.has_labels, str(config.readout))
    online = {"tracking.mode": "online", "trainer.enable_progress_bar": "false"}
    fixed = {key: {"value": _typed(value)} for key, value in (online | plan.fixed).items()}
    axes = {key: {"values": [_typed(value) for value in values]} for key, values in (plan.axes | plan.repeats).items()}
    seeds = {"seed": {"values": list(plan.seeds)}}
    spec = {
        "program": "train.py",
        "name": plan.out.name,
        "method": "grid",
        "metric": {"name": f"best/val/{measure.name}", "goal": "maximize" if measure.sign > 0 else "minimize"},
        "parameters": fixed | seeds | axes,
        "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"],
    }
    text: str = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    return text


def _typed(text: str) -> Any:
    """Numbers as numbers, so that W&B can draw them on an axis; everything else as it was written."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
