"""docs/PERFORMANCE.md and its figure, from the rows of ``benchmarks.training_step``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

if TYPE_CHECKING:
    from benchmarks.training_step import Row

DOCS = Path(__file__).parent.parent / "docs"
FIGURE = "training_step.png"
PAGE = """# Performance of a training step

Written by `python -m benchmarks.training_step`; do not edit. {machine}.

A step is forward, loss, backward and fused Adam, batch 16, α_V = α_I = 0.99, from synthetic input with the statistics
of the data sets: latency-coded MNIST (784-800-10, a fifth of the pixels fires once), N-MNIST (2312-800-10, 4000 events
per sample) and a deep network (784-400-400-400-400-10). Activation learns from the spike-count loss, the others from
the latency loss. The engines took turns, each in a process of its own. The ratio is how many times faster than the
per-step loop (`benchmarks/per_step_loop.py`), with the quartiles over the rounds; memory is the peak of a step beyond
what the process held before. numba and reference run with the application's `OMP_WAIT_POLICY=PASSIVE`, the others with
OpenMP's own default (threads that spin), which is about twice as fast for them on an idle machine. {note}

![Milliseconds per training step]({figure})

| workload | rule | engine | median ms | min ms | peak MB | ratio | quartiles |
|---|---|---|---:|---:|---:|---:|---:|
{table}

## How the engine works

`app/kernels/numba_cpu.py` runs a layer as tasks of 64 neurons. Input spikes are event lists: the forward pass reads a
row of weights per event, the backward pass adds a row of gradients per event. The membrane potential is not stored; the
backward task runs its 64 neurons again up to the last error and then scans back. The errors of the layer above stay in
factored form and are multiplied by its weights inside the scan, four steps at once. Each number is summed by one task
in a fixed order, hence the same bits for any number of threads.

Choices that were measured (batch 16, T = 300, two cores):

- Gather or product by density: rows are gathered per event until half of the inputs fire in a tile of four steps; then
  the tile goes through all inputs at once, with the same bits. CPU time of one thread for 800-800-10 whose inputs fire
  with probability 0.05 / 0.3 / 1: 20 / 94 / 198 ms a step, plain backend 211 / 222 / 240 ms.
- Weights stay `[N, M]` in memory. Storing them transposed saves 0.5 ms of copies, but PyTorch's fused Adam then copies
  them itself, which costs as much.
- Freed memory stays in the process (`numba_memory.py`), which saves 1.8 ms of page faults per step.
- Python threads instead of OpenMP: 25 µs to start a parallel part instead of 5 µs, but no second pool of spinning
  threads beside PyTorch's, and they survive a fork.
"""


def write_page(rows: list[Row], machine: str, note: str) -> None:
    """Rewrite the page and the figure."""
    table = "\n".join(
        f"| {r.workload} | {r.rule} | {r.engine} | {r.ms_median:.2f} | {r.ms_min:.2f} | {r.peak_mb:.1f} "
        f"| {r.ratio_to_per_step_loop:.1f} | {r.ratio_quartiles[0]:.1f}-{r.ratio_quartiles[1]:.1f} |"
        for r in rows
    )
    _draw(rows)
    note = f"{note[:1].upper()}{note[1:]}." if note else ""
    page = PAGE.format(machine=machine, note=note, figure=FIGURE, table=table)
    (DOCS / "PERFORMANCE.md").write_text(page)


def _draw(rows: list[Row]) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rules = list(dict.fromkeys(row.rule for row in rows))
    workloads = list(dict.fromkeys(row.workload for row in rows))
    engines = list(dict.fromkeys(row.engine for row in rows))
    figure, axes = plt.subplots(1, len(rules), figsize=(4.2 * len(rules), 3.6), sharey=True, squeeze=False)
    width = 0.8 / len(engines)
    for axis, rule in zip(axes[0], rules, strict=True):
        for k, engine in enumerate(engines):
            found = [r for r in rows if (r.rule, r.engine) == (rule, engine)]
            places = [workloads.index(r.workload) + (k - (len(engines) - 1) / 2) * width for r in found]
            axis.bar(places, [r.ms_median for r in found], width, label=engine, color=f"C{k}")
        axis.set_yscale("log")
        axis.set_title(rule)
        axis.set_xticks(range(len(workloads)), workloads, rotation=30, ha="right")
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("training step, ms")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(DOCS / FIGURE, dpi=110)
    plt.close(figure)
