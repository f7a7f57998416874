"""Threads for compiled kernels that have released the interpreter lock: as many as PyTorch is allowed to use.

A kernel takes ``counter, tasks, *arguments`` and claims tasks from the counter until none is left; every task writes
its own part of the output in its own fixed order, so that the numbers do not depend on how many threads share the work.
Plain Python threads are used instead of OpenMP because they survive a fork (``ddp_fork``, DataLoader workers) and sleep
between two calls, which leaves the cores to PyTorch's own threads, to other processes and to the workers.

Kernels take what is smaller than 1.2e-38 for 0: a state that decays passes there, and arithmetic on it takes many times
as long. A number of 2e-31 or more does not change when one so small is added, hence no spike does either.
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
    counter, flushes = np.zeros(1, np.int64), not np.float32(1e-40) * np.float32(1)
    torch.set_flush_denormal(True)
    helpers = min(torch.get_num_threads(), tasks) - 1
    running = [_pool(helpers).submit(kernel, counter, tasks, *arguments) for _ in range(helpers)]
    try:
        kernel(counter, tasks, *arguments)
    finally:
        torch.set_flush_denormal(flushes)
        for helper in running:
            helper.result()


def _pool(size: int) -> ThreadPoolExecutor:
    """The threads beside the calling one; they are started once and kept."""
    if size not in _pools:
        _pools[size] = ThreadPoolExecutor(size, "antlr-snn", torch.set_flush_denormal, (True,))
    return _pools[size]
