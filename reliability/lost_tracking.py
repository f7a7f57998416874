"""Faults of W&B: its server, its key, its service, its disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.errors import RunStopped
from app.tracking import PER_CLASS, TABLE
from reliability.bench import Bench, Ended, Outcome, wait_for
from reliability.lost_disks import NAMESPACE
from reliability.usage import children_of
from reliability.wandb_log import STEP, read_log
from reliability.wandb_server import KEY, WandbServer

ONLINE, OFFLINE = "tracking.mode=online", "tracking.mode=offline"
SMALL_WANDB_DISK = 'mount -t tmpfs -o size=64k tmpfs "$1" || exit 99; shift; exec "$@"'
SYNC_S = 300.0


def sessions(out: Path) -> list[Path]:
    """The logs of a run's W&B sessions, oldest first."""
    logs = {path: run.start_s for path in out.glob("wandb/*run-*/run-*.wandb") if (run := read_log(path))}
    return sorted(logs, key=lambda path: logs[path])


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The metrics of a row of W&B's history, its step under the name that it has in ``metrics.csv``."""
    own = {key: value for key, value in row.items() if key[0] != "_" and not key.startswith(TABLE)}
    kept = {key: float(value) for key, value in own.items() if isinstance(value, int | float)}
    return {("step" if key == STEP else key): value for key, value in kept.items()}


def tracked(metrics: list[dict[str, float]]) -> list[dict[str, float]]:
    """What W&B gets of the rows of ``metrics.csv``: all but the numbers of single classes."""
    return [{name: value for name, value in row.items() if PER_CLASS not in name} for row in metrics]


def after_sync(out: Path) -> list[dict[str, float]]:
    """What a server holds after ``wandb sync`` of the newest session of a run.

    Raises:
        RunStopped: wandb failed.
    """
    session = sessions(out)[-1]
    with WandbServer() as server:
        command = [
            sys.executable,
            "-m",
            "wandb",
            "sync",
            "--include-synced",
            "--no-skip-online",
            str(session.parent.resolve()),
        ]
        done = subprocess.run(
            command, env=os.environ | server.environment, capture_output=True, text=True, timeout=SYNC_S, cwd=out
        )
        if done.returncode:
            raise RunStopped(f"wandb sync failed: {(done.stdout + done.stderr)[-500:]}")
        return [numbers(row) for row in server.rows(session.stem.removeprefix("run-"))]


def _judged(bench: Bench, name: str, ended: Ended, words: str) -> Outcome:
    """Judge a run that had to go on without W&B: same results, a warning, everything there for a later sync."""
    wrong = ""
    if ended.code != 0 or not ended.is_sentence:
        wrong = f"exit code {ended.code}: {ended.sentence}"
    elif not ended.warning(words):
        wrong = f"no warning with {words!r}: {ended.printed[-300:]}"
    elif not bench.is_whole(name):
        wrong = "other results than the undisturbed run"
    elif after_sync(bench.folder / name) != tracked(bench.metrics(name)):
        wrong = "after wandb sync the server has other rows than metrics.csv"
    happened = "a warning; the same results; wandb sync later brings every row"
    return Outcome("1 run", wrong or happened, not wrong, "" if wrong else "nothing")


def offline(bench: Bench) -> Outcome:
    """No fault: offline, then wandb sync."""
    ended = bench.train("offline", OFFLINE)
    wrong = f"exit code {ended.code}: {ended.sentence}" if ended.code else ""
    if not wrong and after_sync(bench.folder / "offline") != tracked(bench.metrics("offline")):
        wrong = "after wandb sync the server has other rows than metrics.csv"
    return Outcome("1 run", wrong or "the server has every row of metrics.csv, once", not wrong)


def unreachable(bench: Bench) -> Outcome:
    """W&B's server cannot be reached."""
    address = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY}
    return _judged(bench, "unreachable", bench.train("unreachable", ONLINE, **address), "cannot start online")


def mute(bench: Bench) -> Outcome:
    """W&B's server accepts connections and never answers."""
    with WandbServer("mute") as server:
        return _judged(bench, "mute", bench.train("mute", ONLINE, **server.environment), "cannot start online")


def wrong_key(bench: Bench) -> Outcome:
    """W&B's server refuses the key."""
    with WandbServer("refusing") as server:
        return _judged(bench, "wrong", bench.train("wrong", ONLINE, **server.environment), "cannot start online")


def malformed_key(bench: Bench) -> Outcome:
    """A key that is none."""
    key = {"WANDB_API_KEY": "not-a-key", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    return _judged(bench, "malformed", bench.train("malformed", ONLINE, **key), "W&B")


def server_dies(bench: Bench) -> Outcome:
    """W&B's server goes away while training."""
    with WandbServer() as server, bench.begun("deserted", ONLINE, **server.environment) as child:
        server.mood = "mute"
        server.close()
        ended = bench.end_of(child)
    return _judged(bench, "deserted", ended, "did not take everything")


def service_dies(bench: Bench) -> Outcome:
    """W&B's service is killed while training."""
    with bench.begun("served", OFFLINE) as child:
        services: list[int] = []
        wait_for(lambda: bool(services.extend(services_of(child.process.pid)) or services), child)
        os.kill(services[0], signal.SIGKILL)
        ended = bench.end_of(child)
    return _judged(bench, "served", ended, "W&B failed")


def services_of(pid: int) -> list[int]:
    """The processes of W&B's service below a process."""
    return [p for p in children_of(pid) if b"wandb-core" in Path(f"/proc/{p}/cmdline").read_bytes()]


def full_disk(bench: Bench) -> Outcome:
    """W&B's disk is full."""
    folder = bench.folder / "crowded" / "wandb"
    folder.mkdir(parents=True)
    before = (*NAMESPACE, SMALL_WANDB_DISK, "sh", str(folder))
    ended = bench.train("crowded", OFFLINE, before=before)
    same = ended.code == 0 and ended.is_sentence and bench.is_whole("crowded")
    happened = "the same results" if same else f"exit code {ended.code}: {ended.sentence}"
    bench.train("crowded", "ckpt=last")
    synced = after_sync(folder.parent) == tracked(bench.metrics("crowded"))
    happened += "; with room again, ckpt=last and wandb sync bring every row" if synced else "; rows are missing in W&B"
    return Outcome("1 run", happened, same and synced)


FAULTS = (offline, unreachable, mute, wrong_key, malformed_key, server_dies, service_dies)
FAULTS_IN_NAMESPACES = (full_disk,)
