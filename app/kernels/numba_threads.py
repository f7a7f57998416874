"""Threads for compiled kernels that have released the interpreter lock: as many as PyTorch is allowed to use.

A kernel takes ``first, last, *arguments`` and does the tasks ``first … last − 1``; every task writes its own part of
the output in its own fixed order, so that the numbers do not depend on how many threads share the work. Plain Python
threads are used instead of OpenMP because they survive a fork (``ddp_fork``, DataLoader workers) and sleep between two
calls, which leaves the cores to PyTorch's own threads, to other processes and to the workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

RANGES_PER_THREAD = 4
"""The work is cut finer than one range per thread, so that a disturbed thread does not hold up the others."""

_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)


def parallel(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Call ``kernel(first, last, *arguments)`` on ranges that cover all tasks, with as many threads as PyTorch uses."""
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        kernel(0, tasks, *arguments)
        return
    pieces = min(tasks, RANGES_PER_THREAD * threads)
    ranges = iter([(k * tasks // pieces, (k + 1) * tasks // pieces) for k in range(pieces)])

    def work() -> None:
        for first, last in ranges:
            kernel(first, last, *arguments)

    helpers = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()


def _pool(size: int) -> ThreadPoolExecutor:
    """The threads beside the calling one; they are started once and kept."""
    if size not in _pools:
        _pools[size] = ThreadPoolExecutor(size, thread_name_prefix="antlr-snn")
    return _pools[size]
