"""A whole training step, engine beside engine: ``python -m benchmarks.training_step [--quick] [--root …] [--json …]``.

Every engine starts from the same weights and input, in a process of its own; a step is forward, loss, backward and
optimiser. The engines take turns, so that a disturbance of the machine hits them alike; the table gives medians over
the rounds, the ratio to a per-step loop with its quartiles, and the peak memory of a step. Nothing is reported while a
golden file is red. A full run rewrites docs/PERFORMANCE.md and its figure, with an epoch of MNIST from ``--root`` and
the grid of ``benchmarks.density``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from app import verify
from app.data.mnist_files import find_files
from app.errors import UserError, run_command
from benchmarks.engines import BATCH, RULES, WORKLOADS, engines

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
BASELINE = "per_step_loop"
MIN_TURN_S = 0.3
"""A turn repeats a fast step until it has taken so long, and counts the median."""
FRAMEWORKS = ("snntorch", "spikingjelly")
QUICK = {
    "mnist T=300": "antlr",
    "deep T=300": "antlr",
    "crowd T=300": "activation",
    "mnist conv": "antlr",
    "nmnist pool": "antlr",
    "nmnist conv": "antlr",
}
"""The rows of ``--quick``: one rule for each kind of network."""
FULL = {name: (rule,) for name, rule in QUICK.items()} | {
    "mnist T=100": ("antlr",),
    "mnist T=300": tuple(RULES),
    "mnist T=1000": ("antlr",),
    "nmnist T=300": ("activation", "antlr"),
    "dense T=100": ("activation",),
}
"""The rows of a full run. The frameworks know the activation rule alone."""


@dataclass(frozen=True)
class Row:
    """One line of the table; ``ratio_quartiles`` is the spread of the ratio over the rounds."""

    workload: str
    engine: str
    rule: str
    ms_median: float
    ms_min: float
    forward_ms_median: float
    peak_mb: float
    ratio_to_per_step_loop: float
    ratio_quartiles: tuple[float, float]

    @property
    def samples_per_s(self) -> float:
        """Samples that training takes in a second."""
        return 1e3 * BATCH / self.ms_median

    @property
    def forward_samples_per_s(self) -> float:
        """The same of the forward pass alone, as validation and ``evaluate`` run it."""
        return 1e3 * BATCH / self.forward_ms_median

    def record(self) -> dict[str, str | float]:
        """What a JSON file holds of the row."""
        return {key: value for key, value in asdict(self).items() if key != "ratio_quartiles"}


def verified() -> bool:
    """Whether every golden file agrees on every backend of this machine."""
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        status = verify.main([str(GOLDEN)])
    print(report.getvalue().splitlines()[-1], flush=True)
    return status == 0


def turn(step: Callable[[], None]) -> list[float]:
    """Milliseconds of one or more steps in a row."""
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < MIN_TURN_S:
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times


class Engine:
    """A process of its own that takes steps when it is told to.

    The network engines run with the application's settings, the per-step loop and the frameworks as their users run
    them: the application has no say in how OpenMP threads wait (asleep would cost them half of their speed).
    """

    def __init__(self, workload: str, engine: str, rule: str) -> None:
        first, environment = "import app", dict(os.environ)
        if engine not in ("event_driven", "layerwise"):
            first = "import torch"
            environment.pop("OMP_WAIT_POLICY", None)
        code = f"{first}; from benchmarks.training_step import serve; serve({workload!r}, {engine!r}, {rule!r})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.peak_mb = self._answer()

    def turn(self, kind: str = "train") -> list[float]:
        """Milliseconds of one or more steps, or forward passes alone (``infer``), in a row."""
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with code {self.process.wait()}")
        return json.loads(line)


def serve(name: str, engine: str, rule: str) -> None:
    """What the process of an engine does: print the peak memory of two steps in MB, then the times of each turn."""
    workload = WORKLOADS[name]
    make = engines(rule, workload.convolves)[engine]
    steps = make(workload, rule)
    make(workload.tiny(), rule).train()  # load, or compile, everything
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_kb("VmRSS")
    steps.train()
    steps.train()
    print((_memory_kb("VmHWM") - before) / 1e3, flush=True)
    for kind in sys.stdin:
        print(turn(getattr(steps, kind.strip())), flush=True)


def compare(name: str, rule: str, rounds: int) -> list[Row]:
    """All engines in turn, ``rounds`` times."""
    running = {engine: Engine(name, engine, rule) for engine in engines(rule, WORKLOADS[name].convolves)}
    turns: dict[str, list[list[float]]] = {engine: [] for engine in running}
    forward: dict[str, list[float]] = {engine: [] for engine in running}
    for _ in range(rounds):
        for engine, process in running.items():
            turns[engine].append(process.turn())
            forward[engine].append(statistics.median(process.turn("infer")))
    for process in running.values():
        process.stop()
    medians = {engine: [statistics.median(t) for t in times] for engine, times in turns.items()}
    rows = []
    for engine, times in medians.items():
        ratios = sorted(loop / own for loop, own in zip(medians[BASELINE], times, strict=True))
        low, _, high = statistics.quantiles(ratios, method="inclusive")
        rows.append(
            Row(
                workload=name,
                engine=engine,
                rule=rule,
                ms_median=round(statistics.median(times), 3),
                ms_min=round(min(min(t) for t in turns[engine]), 3),
                forward_ms_median=round(statistics.median(forward[engine]), 3),
                peak_mb=round(running[engine].peak_mb, 1),
                ratio_to_per_step_loop=round(statistics.median(ratios), 2),
                ratio_quartiles=(round(low, 2), round(high, 2)),
            )
        )
    return rows


def _memory_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def machine() -> str:
    """One sentence about where the numbers come from."""
    models = [x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return (
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}"
    )


def show(row: Row) -> str:
    """A row as a line of text."""
    low, high = row.ratio_quartiles
    return (
        f"{row.workload:13} {row.rule:11} {row.engine:14} {row.ms_median:9.2f} ms (min {row.ms_min:8.2f})  "
        f"{row.samples_per_s:7.0f}/s  forward {row.forward_samples_per_s:7.0f}/s  "
        f"{row.peak_mb:7.1f} MB  {row.ratio_to_per_step_loop:7.2f}x [{low:.2f}, {high:.2f}]"
    )


def epoch(root: Path) -> str:
    """What ``benchmarks.epoch`` prints, as Markdown."""
    if find_files(root, "train") is None:
        return f"(Left out: no MNIST in {root.name}.)"
    command = [sys.executable, "-m", "benchmarks.epoch", f"data.root={root}", "trainer.enable_progress_bar=false"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    print(printed, flush=True)
    return f"```\n{printed.replace(f'data.root={root}', 'data.root=DATA')}```"


def density() -> str:
    """What ``benchmarks.density`` prints."""
    command = [sys.executable, "-m", "benchmarks.density"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main(argv: list[str]) -> int:
    """Run the comparison; exit code 1 when verification is red."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one rule and two rounds for each kind of network")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows as a JSON list")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder with MNIST, for the epoch")
    options = parser.parse_args(argv)
    if options.json and not options.json.parent.is_dir():
        raise UserError(f"--json={options.json}: the folder {options.json.parent} does not exist; create it first")
    if not verified():
        print("verification is red: no speed is reported; run python -m app.verify tests/golden", file=sys.stderr)
        return 1
    missing = [name for name in FRAMEWORKS if name not in engines("activation")]
    note = f"{' and '.join(missing)} left out: not installed" if missing else ""
    print(machine(), note and f"\n{note}; see benchmarks/requirements.txt", flush=True)
    rows = []
    parts = {} if options.quick else {"epoch": epoch(options.root), "density": density()}
    wanted = {name: (rule,) for name, rule in QUICK.items()} if options.quick else FULL
    for name, workload in WORKLOADS.items():
        for rule in wanted.get(name, ()):
            found = compare(name, rule, rounds=2 if options.quick else 3 if workload.convolves else 5)
            print("\n".join(map(show, found)), flush=True)
            rows += found
    if options.json:
        options.json.write_text(json.dumps([row.record() for row in rows], indent=1) + "\n")
    if not options.quick:
        from benchmarks.performance_page import write_page

        write_page(rows, machine(), note, **parts)
    return 0


if __name__ == "__main__":
    run_command(main)
