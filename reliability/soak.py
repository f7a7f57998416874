"""Look for leaks: ``python -m reliability soak [--minutes 60] [--lives 12] [key=value …]``.

Two runs train side by side, each on one core: one process without interruption, and a run that is stopped and resumed
again and again, by SIGKILL and by SIGTERM in turn. Memory, file handles and threads of both, and of the processes that
they start (data worker, W&B's service), are written to a table every few seconds. Exit code 1 if, after the warm-up,

- memory grows by more than 64 bytes for each training step (an empty Python dict: the least that a leak would lose) and
  1 % (what allocators keep or return as it comes),
- or file handles or threads become more: as some come and go all the time, the least number of each life (or of each
  tenth of the undisturbed run) counts; those of the second half must not all be above the median of the first.
"""

from __future__ import annotations

import csv
import signal
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import RunStopped, UserError
from app.resume.checkpoint import LAST, read_checkpoint
from app.run_files import CHECKPOINTS
from app.training.folder import CONFIG, has_checkpoints
from reliability.child import Child
from reliability.page import PAGE, Parser, table, write_section
from reliability.soak_result import HEAD, Sample, figure, judge
from reliability.usage import Usage, children_of, usage_of

SETTINGS = [
    *("task=digits", "trainer.max_epochs=1000000", "optim.schedule=constant", "optim.lr=1e-4"),
    *("data.num_workers=1", "tracking.mode=offline", "checkpoint_every_s=2", "trainer.enable_progress_bar=false"),
    *(f"probes.landscape_epochs={list(range(25, 10_000, 25))}", "probes.landscape_points=5"),
    "probes.landscape_samples=16",
]
"""Everything that a run can do, often: workers, W&B, checkpoints, validations, pictures."""
EVERY_S = 5.0
STOP_S = 600.0
"""A process that has just begun to start may take so long to stop on a busy machine."""
ONE_CORE = {"OMP_NUM_THREADS": "1"}


def main(argv: list[str]) -> int:
    """Run the test; prints a table."""
    options = _arguments(argv)
    samples = _read(Path(options.csv)) if options.csv else _soak(options)
    rows = [finding.row() for finding in judge(samples)]
    print("\n".join("  ".join(f"{cell:<14}" for cell in row).rstrip() for row in (HEAD, *rows)))
    grew = [row for row in rows if row[-1] != "no"]
    hours = max(sample.time_s for sample in samples) / 3600
    result = f"{hours:.2f} hours: {'something grew' if grew else 'nothing grew'}"
    print(f"\n{result}")
    if options.write:
        picture = PAGE.with_name("soak.png")
        figure(samples).savefig(picture, dpi=110)
        text = f"{table(HEAD, rows)}\n\n{result}.\n\n![memory, handles and threads over time]({picture.name})"
        write_section("soak", "soak --csv soak.csv" if options.csv else f"soak --minutes {round(60 * hours)}", text)
    return int(bool(grew))


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = Parser("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--lives", type=int, default=12, help="how often the second run is started (default 12)")
    parser.add_argument("--out", default="soak.csv", help="the table of samples to write (default soak.csv)")
    parser.add_argument("--csv", help="judge this table of an earlier soak instead of training")
    options, settings = parser.parse_known_args(argv)
    if unknown := [setting for setting in settings if "=" not in setting]:
        parser.error(f"unknown argument {unknown[0]}")
    given = {setting.split("=")[0] for setting in settings}
    options.settings = [s for s in SETTINGS if s.split("=")[0] not in given] + settings
    return options


def _read(path: Path) -> list[Sample]:
    try:
        with path.open(newline="") as file:
            return [Sample.from_row(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        raise UserError(
            f"--csv {path} is no table of samples; give the file that --out of a soak has written"
        ) from None


def _soak(options: Namespace) -> list[Sample]:
    """Train, and take samples until the time is over."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="antlr-snn-soak-") as folder, open(options.out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(Sample.columns())
        end_s = 60 * options.minutes
        runs = [
            Soaked("one process", Path(folder, "whole"), options.settings, end_s),
            Soaked("resumed", Path(folder, "resumed"), options.settings, end_s / options.lives),
        ]
        try:
            for time_s in _ticks(end_s):
                for run in runs:
                    if sample := run.tend(time_s):
                        samples.append(sample)
                        table.writerow(sample.as_row())
                file.flush()
        finally:
            for run in runs:
                run.kill()
    return samples


def _ticks(end_s: float) -> Iterator[float]:
    began = time.monotonic()
    while (now_s := time.monotonic() - began) < end_s:
        yield now_s
        time.sleep(EVERY_S - (time.monotonic() - began) % EVERY_S)


class Soaked:
    """A run that is watched, and stopped and resumed when a process of it has lived long enough.

    Args:
        name: in the table.
        out: the run's folder.
        settings: arguments of ``train.py``.
        life_s: seconds that each process lives.
    """

    def __init__(self, name: str, out: Path, settings: list[str], life_s: float) -> None:
        self.name, self.out, self.settings, self.life_s = name, out, settings, life_s
        self.child: Child | None = None
        self.life, self.born_s = 0, 0.0

    def tend(self, time_s: float) -> Sample | None:
        """Start, watch or stop a process of the run.

        Raises:
            RunStopped: it has ended, or did not stop as it should.
        """
        if self.child is not None and time_s - self.born_s >= self.life_s:
            self._stop()
        if self.child is None:
            resuming = (self.out / CONFIG).exists()
            self.child = Child(self.out, ["ckpt=last"] if resuming else self.settings, ONE_CORE, is_forked=False)
            self.life, self.born_s = self.life + 1, time_s
        if self.child.process.poll() is not None:
            raise RunStopped(f"{self.name}: exit code {self.child.process.returncode}: {self.child.printed()[-1000:]}")
        return self._sample(time_s, self.child.process.pid)

    def _sample(self, time_s: float, pid: int) -> Sample | None:
        trainer = usage_of(pid)
        if trainer is None:
            return None
        started = [usage for child in children_of(pid) if (usage := usage_of(child))]
        step = read_checkpoint(self.out / CHECKPOINTS / LAST)["global_step"] if has_checkpoints(self.out) else 0
        age_s = time_s - self.born_s
        return Sample(time_s, self.name, self.life, age_s, int(step), trainer, sum(started, Usage()))

    def _stop(self) -> None:
        """End the process: with SIGTERM every second time, which has to give exit code 143."""
        if self.child is not None and self.life % 2 == 0:
            code = self.child.end(signal.SIGTERM, STOP_S)
            if code != 128 + signal.SIGTERM:
                raise RunStopped(f"{self.name}: exit code {code} after SIGTERM: {self.child.printed()[-1000:]}")
        self.kill()

    def kill(self) -> None:
        """Leave nothing running."""
        if self.child is not None:
            self.child.kill()
        self.child = None
