"""Threads for compiled kernels that have released the interpreter lock: as many as PyTorch is allowed to use.

A kernel takes ``counter, tasks, *arguments`` and claims tasks from the counter until none is left; every task writes
its own part of the output in its own fixed order, so that the numbers do not depend on how many threads share the work.
Plain Python threads are used instead of OpenMP because they survive a fork (``ddp_fork``, DataLoader workers) and sleep
between two calls, which leaves the cores to PyTorch's own threads, to other processes and to the workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_pools.clear)


def parallel(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Call ``kernel(counter, tasks, *arguments)`` on as many threads as PyTorch uses, until all tasks are done."""
    counter = np.zeros(1, np.int64)
    helpers = min(torch.get_num_threads(), tasks) - 1
    running = [_pool(helpers).submit(kernel, counter, tasks, *arguments) for _ in range(helpers)]
    try:
        kernel(counter, tasks, *arguments)
    finally:
        for helper in running:
            helper.result()


def _pool(size: int) -> ThreadPoolExecutor:
    """The threads beside the calling one; they are started once and kept."""
    if size not in _pools:
        _pools[size] = ThreadPoolExecutor(size, thread_name_prefix="antlr-snn")
    return _pools[size]
