"""Try what must not cost a run: ``python -m reliability faults [--only WORD] [--jobs 2]``.

Damages checkpoints, fills disks, takes folders and data away, stops W&B's server and service, and kills processes, each
while a real run of the digits trains, and compares what becomes of it with an undisturbed run, bit for bit. Nothing
leaves this machine: W&B's server is one of this test. Exit code 1 if a run did not survive.
"""

from __future__ import annotations

import re
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.errors import UserError
from reliability import damaged_checkpoints, dying_processes, lost_disks, lost_tracking
from reliability.bench import Bench, Outcome
from reliability.page import Parser, table, write_section

HEAD = ("fault", "tried", "what happened", "survived", "lost")
Fault = Callable[[Bench], Outcome]
FAULTS: tuple[Fault, ...] = (
    *damaged_checkpoints.FAULTS,
    *lost_disks.FAULTS,
    *lost_disks.FAULTS_IN_NAMESPACES,
    *lost_tracking.FAULTS,
    *lost_tracking.FAULTS_IN_NAMESPACES,
    *dying_processes.FAULTS,
)
IN_NAMESPACES = (*lost_disks.FAULTS_IN_NAMESPACES, *lost_tracking.FAULTS_IN_NAMESPACES)


def main(argv: list[str]) -> int:
    """Try the faults; prints a table."""
    options = _arguments(argv)
    chosen = [fault for fault in FAULTS if options.only in fault.__name__]
    if not chosen:
        raise UserError(f"--only {options.only}: no fault has this in its name: {', '.join(map(_key, FAULTS))}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="antlr-snn-faults-") as folder:
        for fault, outcome in _tried(chosen, Path(folder), options.jobs):
            rows.append((_name(fault), *_row(outcome)))
            print("  ".join(rows[-1]), flush=True)
    failed = [row for row in rows if row[3] == "NO"]
    lost = ", ".join(f"{row[4]} ({row[0]})" for row in rows if row[4] != Outcome.lost) or Outcome.lost
    result = f"{len(rows)} faults: {f'{len(failed)} were not survived' if failed else 'all survived'}; lost: {lost}"
    print(f"\n{result}")
    if options.write:
        write_section("faults", " ".join(["faults", *argv]), f"{table(HEAD, rows)}\n\n{result}.")
    return int(bool(failed))


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = Parser("faults", __doc__)
    parser.add_argument("--only", default="", help="faults with this in their names")
    parser.add_argument("--jobs", type=int, default=2, help="faults that are tried at the same time (default 2)")
    return parser.parse_args(argv)


def _key(fault: Fault) -> str:
    return fault.__name__


def _name(fault: Fault) -> str:
    return (fault.__doc__ or "").strip().rstrip(".")


def _tried(faults: Sequence[Fault], folder: Path, jobs: int) -> Iterator[tuple[Fault, Outcome]]:
    """Each fault with its outcome, in their order."""
    began = time.monotonic()
    bench = Bench(folder)
    print(f"{bench.whole.name}: the undisturbed run took {time.monotonic() - began:.0f} s", flush=True)
    have_namespaces = lost_disks.namespaces()
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = {f: pool.submit(f, bench) for f in faults if have_namespaces or f not in IN_NAMESPACES}
        try:
            for fault in faults:
                if fault in outcomes:
                    yield fault, _outcome(outcomes[fault].result, folder)
                else:
                    yield fault, Outcome("not here", "needs Linux with user namespaces (unshare)", True)
        except BaseException:  # Ctrl-C: leave nothing running
            pool.shutdown(wait=False, cancel_futures=True)
            bench.kill()
            raise


def _outcome(result: Callable[[], Outcome], folder: Path) -> Outcome:
    """The outcome, without the folder of this test; whatever a fault raises is one that was not survived."""
    try:
        found = result()
    except Exception as error:
        found = Outcome("1 run", f"{type(error).__name__}: {error}"[:500], False)
    happened = re.sub(rf"\S*{re.escape(str(folder))}/?", "", found.happened)
    return Outcome(found.tried, happened, found.survived, found.lost)


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    if outcome.tried == "not here":
        return outcome.tried, outcome.happened, "-", "-"
    lost = outcome.lost if outcome.survived else outcome.lost or "?"
    return outcome.tried, outcome.happened, "yes" if outcome.survived else "NO", lost
