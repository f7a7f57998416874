"""Both processes of a run at once, each told its rank as by a launcher that is not Lightning's own."""

import os
import socket
import sys
from collections.abc import Sequence

from reliability.dying_processes import DDP
from reliability.patience import group, outputs_of
from tests.support import ROOT

TRAIN = str(ROOT / "train.py")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def two_ranks(*argv: str, first: Sequence[str] = (TRAIN,)) -> tuple[list[int | None], list[str]]:
    """Train on two processes: their exit codes, and what they printed.

    Args:
        argv: of ``train.py``.
        first: what the first of them runs with these arguments instead of ``train.py``.
    """
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    ranks = [os.environ | meeting | {"LOCAL_RANK": rank} for rank in "01"]
    scripts = (first, (TRAIN,))
    children = [
        group(sys.executable, *script, *argv, *DDP, env=environment)
        for script, environment in zip(scripts, ranks, strict=True)
    ]
    printed = outputs_of(children)
    return [child.process.returncode for child in children], printed
