"""What running processes hold: memory, file handles, threads, read from Linux's /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.errors import UserError

PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What one or several processes hold.

    Args:
        rss_mib: resident memory in MiB; pages that processes share count for each.
        handles: open file handles, sockets and pipes included.
        threads: threads.
    """

    rss_mib: float = 0.0
    handles: int = 0
    threads: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.rss_mib + other.rss_mib, self.handles + other.handles, self.threads + other.threads)


def usage_of(pid: int) -> Usage | None:
    """What a process holds; None when it has gone."""
    try:
        status = dict(line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines())
        handles = len(list((PROC / str(pid) / "fd").iterdir()))
        return Usage(int(status["VmRSS"].split()[0]) / 1024, handles, int(status["Threads"]))
    except (OSError, KeyError):  # a zombie has no VmRSS
        return None


def children_of(pid: int) -> list[int]:
    """All processes that a process has started, and those that they have.

    Raises:
        UserError: the system has no /proc.
    """
    if not PROC.is_dir():
        raise UserError(f"{PROC} is missing: memory, handles and threads of processes are read there; use Linux")
    parents = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]
