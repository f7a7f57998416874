"""Run every experiment and write docs/RESULTS.md: ``python -m app.report rebuild [/path/to/data=FOLDER …] [--plan]``.

  experiments=docs/experiments.yaml   what is run, in its order: each command, then the ones that follow it
  out=docs/RESULTS.md                 the page
  /path/to/data=FOLDER                what stands for a placeholder of the commands; an experiment whose placeholder is
                                      not given is left out
  --record                            keep the figures of the runs in docs/records, as app.report results does
  --mixed                             go on where runs of other code are stored; the page then names all versions
  --plan                              print the commands and their time, run nothing

What is finished is not run again: given again, the command goes on where it was stopped.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ..arguments import read_arguments, wants_help
from ..errors import RunStopped, UserError
from ..runs import stored_runs
from ..version import code_version
from . import results_page
from .experiments import Experiment, read_experiments

PLACEHOLDER = re.compile(r"/path/to/\w+")


def main(argv: list[str]) -> int:
    """Run what is missing, in order, and write the page."""
    if wants_help(argv):
        print(__doc__)
        return 0
    arguments = read_arguments(argv, flags=["mixed", "plan", "record"])
    given = {"experiments": "docs/experiments.yaml", "out": "docs/RESULTS.md"} | arguments.values
    paths = {key: value for key, value in given.items() if PLACEHOLDER.fullmatch(key)}
    if unknown := [key for key in given if key not in (*paths, "experiments", "out")]:
        raise UserError(f"{unknown[0]} is not known here: write /path/to/data={given[unknown[0]]} for a placeholder")
    began_s = time.perf_counter()
    for experiment in read_experiments(Path(given["experiments"])):
        hours = f" (about {experiment.cpu_hours:g} CPU hours)" if experiment.cpu_hours else ""
        print(f"{experiment.title}{hours}", flush=True)
        if missing := [name for name in _placeholders(experiment) if name not in paths]:
            print(f"  left out: give {missing[0]}=FOLDER")
            continue
        if "mixed" not in arguments.flags:
            _refuse_other_code(experiment)
        for command in (experiment.command, *experiment.then):
            words = [PLACEHOLDER.sub(lambda found: paths[found[0]], word) for word in shlex.split(command)]
            print(f"  {shlex.join(words)}", flush=True)
            if "plan" not in arguments.flags:
                _run(words)
    if "plan" in arguments.flags:
        return 0
    print(f"{(time.perf_counter() - began_s) / 3600:.2f} hours", flush=True)
    flags = [f"--{flag}" for flag in ("mixed", "record") if flag in arguments.flags]
    return results_page.main([f"experiments={given['experiments']}", f"out={given['out']}", *flags])


def _placeholders(experiment: Experiment) -> Mapping[str, None]:
    return dict.fromkeys(PLACEHOLDER.findall(" ".join([experiment.command, *experiment.then])))


def _refuse_other_code(experiment: Experiment) -> None:
    runs = stored_runs([experiment.folder])[0] if experiment.folder.is_dir() else []
    others = sorted({run.code_version or "unknown" for run in runs if run.state == "finished"} - {code_version()})
    if others:
        raise UserError(
            f"{experiment.folder} holds runs of other code ({', '.join(others)}; here it is {code_version()}): move "
            "the folder away to run them again, or add --mixed to go on"
        )


def _run(words: list[str]) -> None:
    words = [sys.executable, *words[1:]] if words[0] == "python" else words
    if code := subprocess.run(words).returncode:
        raise RunStopped(
            f"{shlex.join(words)} ended with {code}; mend it and give the command again to go on from there"
        )
