"""Test a checkpoint on its task's test split: ``python -m app.evaluate ckpt=<file or run folder> [key=value …]``.

The settings are those that the checkpoint holds, changed by the other arguments (for example ``data.root=``). With
``out=FOLDER`` the metrics are written to ``FOLDER/evaluation.json`` too.
"""

from __future__ import annotations

import json
from pathlib import Path

from app.checkpoint import BEST, CHECKPOINTS, read_checkpoint
from app.config import from_dict, help_text, parse_arguments
from app.errors import UserError, run_command
from app.training.build import build_data, build_module, build_trainer, quiet
from app.training.folder import make_folder
from app.training.summary import metrics_table


def main(argv: list[str]) -> int:
    """Evaluate; prints the table of metrics."""
    if "--help" in argv or "-h" in argv:
        print(f"{__doc__}\n{help_text()}")
        return 0
    arguments = parse_arguments(argv)
    if "ckpt" not in arguments:
        raise UserError("ckpt= is missing: name a checkpoint, for example ckpt=runs/digits-antlr-latency-s0")
    path = Path(str(arguments["ckpt"]))
    if path.is_dir():
        path = path / CHECKPOINTS / BEST
    content = read_checkpoint(path)
    config = from_dict(content["config"], [a for a in argv if not a.removeprefix("--").startswith("ckpt=")])
    quiet()
    module = build_module(config)
    data = build_data(config, module.network)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError:
        raise UserError(f"ckpt={path}: its weights do not fit network={config.network}; leave network= out") from None
    trainer = build_trainer(config, Path(config.out), [], [])
    print(f"{config.task}: {path} ({config.rule} rule, after {content['epoch'] + 1} epochs), reading the test split")
    trainer.test(module, datamodule=data, verbose=False)
    values = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
    if trainer.is_global_zero:
        print(metrics_table(values))
        if "out" in arguments:
            make_folder(Path(config.out))
            (Path(config.out) / "evaluation.json").write_text(json.dumps(values, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    run_command(main)
