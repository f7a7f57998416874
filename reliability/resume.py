"""Prove that a killed run loses nothing: ``python -m reliability resume [--kills 20] [--task mnist] [key=value …]``.

Trains a task once without interruption, then again in child processes that are killed with SIGKILL at random times and
resumed with ``ckpt=last``, and compares weights, optimiser, random states, metrics and best checkpoint bit for bit.
Exit code 1 if anything differs.
"""

from __future__ import annotations

import random
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import RunStopped
from app.files import PARTIAL
from app.markdown import counted
from app.resume.checkpoint import newest_intact, read_checkpoint
from app.run_files import CHECKPOINTS
from app.training.folder import CONFIG, has_checkpoints
from reliability.child import Child
from reliability.digest import digests_of
from reliability.page import Parser, table, write_section

SETTINGS = {
    "digits": ["network=[64,fc20,fc10]", "time_steps=30", "trainer.max_epochs=40", "data.eval_batch_size=16"],
    "mnist": ["network=[784,fc30,fc10]", "trainer.max_epochs=2", "trainer.limit_train_batches=600"],
}
ALWAYS = ["trainer.enable_progress_bar=false", "tracking.mode=disabled", "trainer.log_every_n_steps=10"]
STUCK_S = 1800.0
START_S = 2.0
"""About how long a child starts."""
WAIT_S = 0.05
"""A few steps; how long the test waits between two looks at a child, and at most before it kills."""
EVERY_S = 0.01
"""A checkpoint so often that kills hit the writing of some."""
HEAD = ("", "uninterrupted", "killed and resumed", "")


def main(argv: list[str]) -> int:
    """Run the test; prints a table of kills and one of hashes."""
    options = _arguments(argv)
    with tempfile.TemporaryDirectory(prefix="antlr-snn-selftest-") as folder:
        kills, whole, killed = _resume(options, Path(folder))
    compared = [(name, value, killed[name], _same(value == killed[name])) for name, value in whole.items()]
    print("\n" + "\n".join("  ".join(f"{cell:22}" for cell in row).rstrip() for row in (HEAD, *compared)))
    if len(kills) < options.kills:
        print(
            f"only {len(kills)} of {options.kills} kills: the run was over; give it more epochs (trainer.max_epochs=)"
        )
    became = "nothing was lost" if whole == killed else "the resumed run is another one"
    result = f"{counted(len(kills), 'kill')}: {became}"
    print(f"\n{result}")
    if options.write:
        doing = ", ".join(f"{count} {what}" for what, count in Counter(kill.doing for kill in kills).most_common())
        name = f"resume {options.task}" + (f" {options.devices}" if options.devices > 1 else "")
        write_section(name, " ".join(["resume", *argv]), f"{table(HEAD, compared)}\n\n{result} ({doing}).")
    return 0 if whole == killed and len(kills) == options.kills else 1


def _same(equal: bool) -> str:
    return "equal" if equal else "DIFFERENT"


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = Parser("resume", __doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often the child is killed (default 20)")
    parser.add_argument("--task", choices=sorted(SETTINGS), default="digits")
    parser.add_argument("--devices", type=int, default=1, help="processes of the run, joined by DDP on the CPU")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    options, settings = parser.parse_known_args(argv)
    if unknown := [setting for setting in settings if "=" not in setting]:
        parser.error(f"unknown argument {unknown[0]}")
    options.settings = [*SETTINGS[options.task], *ALWAYS, f"task={options.task}", f"checkpoint_every_s={EVERY_S}"]
    if options.devices > 1:
        processes = ["trainer.accelerator=cpu", "trainer.strategy=ddp", f"trainer.devices={options.devices}"]
        options.settings += processes
    given = {setting.split("=")[0] for setting in settings}
    options.settings = [s for s in options.settings if s.split("=")[0] not in given] + settings
    return options


@dataclass(frozen=True)
class Kill:
    """One killed process.

    Args:
        lived_s: how long it had lived.
        before: the step that it went on from.
        after: the step that it left behind.
        doing: what it was busy with.
    """

    lived_s: float
    before: int
    after: int
    doing: str


def _resume(options: Namespace, folder: Path) -> tuple[list[Kill], dict[str, str], dict[str, str]]:
    """Train once undisturbed and once with kills: the kills, and the hashes of both runs."""
    whole, killed = folder / "whole", folder / "killed"
    with Child(whole, options.settings) as child:
        if not child.wait(STUCK_S):
            raise RunStopped(f"the uninterrupted run takes longer than {STUCK_S:.0f} s; make it smaller")
    steps = _step(whole)
    print(f"{options.task}: the uninterrupted run took {steps} steps")
    print(f"{'kill':>4}  {'after':>7}  {'from step':>9}  {'to step':>7}  what it was doing")
    chance, kills = random.Random(options.seed), []
    while len(kills) < options.kills and (kill := _life(killed, options.settings, chance, steps / options.kills)):
        kills.append(kill)
        print(f"{len(kills):4}  {kill.lived_s:5.2f} s  {kill.before:9}  {kill.after:7}  {kill.doing}", flush=True)
    with Child(killed, _arguments_of(killed, options.settings)) as child:
        child.wait(STUCK_S)
    return kills, digests_of(whole), digests_of(killed)


def _life(out: Path, settings: list[str], chance: random.Random, most_steps: float) -> Kill | None:
    """Start or resume the run and kill it; None if it came to its end before."""
    before, began = _step(out), time.monotonic()
    with Child(out, _arguments_of(out, settings)) as child:
        if not _kill(child, chance, before + most_steps * chance.random()):
            return None
    return Kill(time.monotonic() - began, before, _step(out), _doing(out))


def _arguments_of(out: Path, settings: list[str]) -> list[str]:
    return ["ckpt=last"] if (out / CONFIG).exists() else settings


def _kill(child: Child, chance: random.Random, step: float) -> bool:
    """Kill a child at a random time: one in ten while it starts, the others after their first checkpoint from a step
    on, of these one in four as soon as it begins to write another one, and one in four as soon as ``metrics.csv`` is
    new, which a checkpoint follows. False if it ended before.
    """
    if chance.random() < 0.1:
        if child.wait(chance.uniform(0, START_S)):
            return False
    else:
        saved = child.saved_ns()
        while child.saved_ns() == saved or _step(child.out) < step:
            if child.wait(WAIT_S):
                return False
        if child.wait(WAIT_S * chance.random()):
            return False
        window = chance.random()
        if window < 0.5 and not (child.begins_to_write() if window < 0.25 else child.has_written_metrics()):
            return False
    child.kill()
    return True


def _step(out: Path) -> int:
    if not has_checkpoints(out):
        return 0
    return int(read_checkpoint(newest_intact(out / CHECKPOINTS)[0])["global_step"])


def _doing(out: Path) -> str:
    left = [path.name for path in out.rglob(f".*{PARTIAL}")]
    if left:
        return f"writing {left[0].removeprefix('.').removesuffix(PARTIAL)}"
    return "training, validating or testing" if has_checkpoints(out) else "starting"
