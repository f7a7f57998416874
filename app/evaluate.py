"""Test a checkpoint on its task's test split: ``python -m app.evaluate ckpt=<file or run folder> [key=value …]``.

The settings are those that the checkpoint holds, changed by the other arguments (for example ``data.root=``). With
``out=FOLDER`` the metrics are written to ``FOLDER/evaluation.json`` too. With ``--until-decision`` each sample stops at
its first output spike, as a device would that has its answer: faster, and what is reported then (first-spike accuracy,
spikes and synaptic operations until the decision, its time) is the same.
"""

from __future__ import annotations

import json
from pathlib import Path

from .arguments import wants_help
from .config import command_help, parse_arguments
from .errors import UserError, run_command
from .files import replacing
from .training.folder import make_folder
from .training.summary import metrics_table
from .training.trained import load_trained

FLAGS = ("until-decision",)
UNTIL_DECISION = f"--{FLAGS[0]}"


def main(argv: list[str]) -> int:
    """Evaluate; prints the table of metrics."""
    if wants_help(argv):
        print(command_help(__doc__, argv))
        return 0
    stop = UNTIL_DECISION in argv
    argv = [argument for argument in argv if argument != UNTIL_DECISION]
    arguments = parse_arguments(argv)
    if "ckpt" not in arguments:
        raise UserError("ckpt= is missing: name a checkpoint, for example ckpt=runs/digits-antlr-latency-s0")
    overrides = [a for a in argv if not a.removeprefix("--").startswith("ckpt=")]
    trained = load_trained(Path(str(arguments["ckpt"])), overrides)
    config = trained.config
    if "out" in arguments:
        make_folder(config.folder)
    print(f"{config.task}: {trained.path} ({config.rule} rule, after {trained.epochs} epochs), reading the test split")
    values, is_first = trained.test(stop)
    if is_first:
        print(metrics_table(values))
        if "out" in arguments:
            with replacing(config.folder / "evaluation.json") as file:
                file.write(json.dumps(values, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    run_command(main)
