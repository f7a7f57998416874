"""docs/PERFORMANCE.md and its figure, from the rows of ``benchmarks.training_step``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

if TYPE_CHECKING:
    from benchmarks.gpu_kernels import Row as KernelRow
    from benchmarks.training_step import Row

DOCS = Path(__file__).parent.parent / "docs"
FIGURE = "training_step.png"
GPU_HEADING = "## On a GPU: predicted, never measured"
GPU_SECTION = """{heading}

No GPU was there when this was written: none of it could be measured. What follows is reckoned by `python -m
benchmarks.gpu_kernels --page`: the kernels of `app/kernels/triton_scans.py` are compiled ahead of time, and their
loop over time is read instruction by instruction from the machine code. Measure on your GPU before you believe any of
it, after `python -m app.verify tests/golden`, which compares the engine with independent numbers there.

The {kernels} kernels ({targets}) need at most {registers} registers of a lane and {shared} bytes of shared memory,
and spill {spills}. In each step a lane moves {forward} bytes forward (the drive, V, a byte for the spike) and
{backward} backward (both errors and V; the errors of drive and shift). V is kept, in the place of the drive: to run
it again backwards would read the drive, write V and read it, 12 bytes instead of 8. Spikes are not read backwards,
for V ≥ θ says them. Rules that look at a whole layer ({layer_rules}) have no kernel and run as plain PyTorch.
Registers and bytes of shared memory of each:

{needs}

A step is forward and backward with ANTLR, on the workloads of the table above. *Scans* are the time loops: what takes
longer of their bytes, at {reached:.0%} of the memory's bandwidth, and their instructions, {latency} cycles each, for
a warp's instructions wait for one another. With 16 samples it is these, with 256 the bandwidth. *Products* run at
{reached:.0%} of the maker's figure; where fewer than 1 in 32 inputs fire, the first layer's are sums over events, on
which `products=` has no say. *Step* is the work of the GPU alone, as a CUDA graph (which takes dense input, always of
one shape) would run it; *launched* is with a host that launches a kernel every {launch:.0f} µs, as training runs.
*Bandwidth* is the share of the maker's figure that the step's bytes make up. Lightning's loop, metrics, logging and the
loading of data come on top.

Three figures are those of `products=float32`, `tf32` and `bf16`, one is that of all three. With bfloat16 a product
reads and writes half the bytes, but other kernels round what goes in and widen what comes out: 6 bytes more for each
number, in *step* and not in *products*, and {roundings} launches. None of these workloads gains over TF32 by it; on an
A100 that takes some thousand neurons on both sides of a layer.

{table}
"""
PAGE = """# Performance of training

Written by `python -m benchmarks.training_step --root DATA`; do not edit. {machine}.

## A training step

A step is forward, loss, backward and fused Adam, batch 16, α_V = α_I = 0.99, from synthetic input with the statistics
of the data sets: latency-coded MNIST (784-800-10, a fifth of the pixels fires once), N-MNIST (2312-800-10, 4000 events
per sample), input that is anything but sparse (784-800-10, every second input fires in every step; "crowd":
784-800-800-10, one in twenty), a deep network (784-400-400-400-400-10) and three convolutional ones. Activation learns
from the spike-count loss, the others from the latency loss. The engines took turns, each in a process of its own. The
ratio is how many times faster than the per-step loop (`benchmarks/per_step_loop.py`), with the quartiles over the
rounds; memory is the peak of a step beyond what the process held before. Samples per second are those of training, and
of the forward pass alone, without gradients, as validation and `evaluate` run it. SpikingJelly runs step by step
(`step_mode="s"`): with `"m"` the backward pass of its `SynapseFilter` takes a time that grows with T² (784-800-10, one
thread: 694 ms at T = 300, 2985 at 600; step by step 440 and 662). event_driven and layerwise (the plain PyTorch engine)
run with the application's `OMP_WAIT_POLICY=PASSIVE`, the others with OpenMP's own default (threads that spin), which is
faster for them on an idle machine. All three rules are measured on MNIST at T = 300, one or two of them elsewhere.
Convolutional networks, of which the plain engines take up to half a minute a step, have three rounds, the others five.
{note}

![Milliseconds per training step]({figure})

| workload | rule | engine | median ms | min ms | samples/s | forward samples/s | peak MB | ratio | quartiles |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|
{table}

## An epoch

`python -m benchmarks.epoch` runs one epoch of `train.py` with a clock around whatever is arithmetic; what is left is
Python: Lightning's loop and hooks, autograd, the loader, metrics and logging.

{epoch}

## How the engine works

The kernels in `app/kernels/` run a sample through all layers in one task, 64 neurons at a time, whose states stay in
machine registers. Input spikes are event lists: the forward pass reads a row of weights per event, the backward pass
adds a row of gradients per event. Where more than half of all inputs fire in a tile of four steps, the tile goes
through all inputs at once, with the same bits; where none fires, the tile needs no drive. The membrane potential is
not stored; the backward task of 64 neurons runs them again up to the last error and then scans back. The errors of the
layer above stay in factored form and are multiplied by its weights, four steps at once. Each number is summed by one
task in a fixed order, hence the same bits for any number of threads (`tests/engines/test_event_driven.py`). Small
decays cost nothing extra: kernels take what is smaller than 1.2e-38 for 0, which is no spike's business
(`app/kernels/threads.py`). Threads are Python's, which sleep between two calls, survive a fork, and claim one task
after the other from an atomic counter.

## How near to the machine's limit

Where a hidden layer's error is dense in time, its product with the weights above is the cost, and no event saves any of
it. Multiplications and additions of float32 in 10⁹ a second on one core (AMD EPYC, AVX-512; PyTorch's BLAS reaches 50
there, 1024³), milliseconds of one core for a batch of 16, T = 300, measured by CPU time:

| network | rule | products, 10⁹ | in the kernel, 10⁹/s | products alone at 50·10⁹/s | whole step |
|---|---|---:|---:|---:|---:|
| 784-400-400-400-400-10 | antlr | 1.75 | 49 | 35 | 65 |
| 784-800-800-10, crowd | activation | 3.07 | 48 | 61 | 107 |

On two cores the products of the deep network alone take 17 ms, whatever else is done well. Between images most products
are saved instead of hurried: rows of a convolution with stride 1 are computed at eight points (`app/kernels/below.py`),
which for 2x34x34-conv12c5-apool2-conv64c5-apool2-flatten-fc10 comes to 10.2 in place of 23.0·10⁹ products (counted, not
timed). A spike adds one stretch of weights to each row of an image that hears it, and takes one stretch of errors back
(`app/kernels/images.py`).

## Which engine `auto` takes

`python -m benchmarks.density` compares a training step of `event_driven` with `layerwise` over density of input,
width of the hidden layer and batch size, in turns. While the worst ratio is above 1, `auto` is right to take
`event_driven` whenever it can.

{density}

## Other event-driven software

None is in the table. Of what pip installs, jaxsnn 0.3.0 comes nearest by its source: it trains event by event, with
EventProp, in continuous time and with a number of events per layer that is fixed beforehand; it has no steps, and was
not measured. eventax, exact-snn-nn and exact-event-adjoint describe themselves as exact or in continuous time, and
were not looked into. pip finds no hxtorch and no ml_genn for this platform.
"""


def write_gpu_section(rows: list[KernelRow], needs: list[str], table: list[str]) -> None:
    """Rewrite what the page says about GPUs."""
    from benchmarks import gpu_kernels

    moved = [loop.bytes_moved for loop in gpu_kernels.loops(gpu_kernels.GPUS[0])]
    section = GPU_SECTION.format(
        heading=GPU_HEADING,
        kernels=len({row.kernel for row in rows}),
        targets=", ".join(sorted({row.target for row in rows})),
        registers=max(row.registers for row in rows),
        shared=max(row.shared_bytes for row in rows),
        spills=sum(row.spills for row in rows) or "nothing",
        reached=gpu_kernels.REACHED,
        latency=gpu_kernels.LATENCY,
        launch=1e6 * gpu_kernels.LAUNCH_S,
        roundings=gpu_kernels.ROUNDINGS,
        layer_rules=", ".join(
            name for name, rule in gpu_kernels.REGISTERED.items() if issubclass(rule, gpu_kernels.LayerRule)
        ),
        forward=moved[0],
        backward=moved[1],
        needs="\n".join(needs),
        table="\n".join(table),
    )
    page = (DOCS / "PERFORMANCE.md").read_text().partition(GPU_HEADING)[0].rstrip()
    (DOCS / "PERFORMANCE.md").write_text(f"{page}\n\n{section}")


def _gpu_section() -> str:
    """What the page says about GPUs, which another command writes."""
    _, heading, text = (DOCS / "PERFORMANCE.md").read_text().partition(GPU_HEADING)
    return f"\n{heading}{text}" if heading else ""


def write_page(rows: list[Row], machine: str, note: str, **parts: str) -> None:
    """Rewrite the page and the figure; ``parts`` are the epoch and the density."""
    table = "\n".join(
        f"| {r.workload} | {r.rule} | {r.engine} | {r.ms_median:.2f} | {r.ms_min:.2f} "
        f"| {r.samples_per_s:.0f} | {r.forward_samples_per_s:.0f} | {r.peak_mb:.1f} "
        f"| {r.ratio_to_per_step_loop:.1f} | {r.ratio_quartiles[0]:.1f}-{r.ratio_quartiles[1]:.1f} |"
        for r in rows
    )
    _draw(rows)
    note = f"{note[:1].upper()}{note[1:]}." if note else ""
    page = PAGE.format(machine=machine, note=note, figure=FIGURE, table=table, **parts) + _gpu_section()
    (DOCS / "PERFORMANCE.md").write_text(page)


def _draw(rows: list[Row]) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    places = {place: k for k, place in enumerate(dict.fromkeys((row.workload, row.rule) for row in rows))}
    engines = list(dict.fromkeys(row.engine for row in rows))
    figure, axis = plt.subplots(figsize=(11, 4.2), layout="constrained")
    width = 0.8 / len(engines)
    for k, engine in enumerate(engines):
        found = [row for row in rows if row.engine == engine]
        lefts = [places[row.workload, row.rule] + (k - (len(engines) - 1) / 2) * width for row in found]
        axis.bar(lefts, [row.ms_median for row in found], width, label=engine, color=f"C{k}")
    axis.set_yscale("log")
    axis.set_xticks(range(len(places)), ["\n".join((*name.split(), rule)) for name, rule in places], fontsize=7)
    axis.grid(axis="y", alpha=0.3)
    axis.set_ylabel("training step, ms")
    figure.legend(fontsize=8, loc="outside upper center", ncols=len(engines))
    figure.savefig(DOCS / FIGURE, dpi=110)
    plt.close(figure)
