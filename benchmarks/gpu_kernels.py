"""The GPU kernels without a GPU: ``python -m benchmarks.gpu_kernels [--json FILE] [--page]``.

Every kernel is compiled ahead of time for four GPUs, and what it needs is read from the machine code: registers of a
lane, bytes that are spilled, shared memory of a block. From the loop over time, instruction by instruction, and the
limits of a GPU follows how long a training step should take. No GPU was there: such times are predictions.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from app.engines import triton_rule
from app.errors import UserError, run_command
from app.kernels import triton_build
from app.layers.synapses import PRODUCTS
from app.neuron.surrogate import Rectangular
from app.rules import RULES as REGISTERED
from app.rules import Rule, activation, antlr, timing
from app.rules.layer_rule import LayerRule

TARGETS = {
    "cuda:80": GPUTarget("cuda", 80, 32),
    "cuda:90": GPUTarget("cuda", 90, 32),
    "cuda:120": GPUTarget("cuda", 120, 32),
    "hip:gfx942": GPUTarget("hip", "gfx942", 64),
}
RULES: dict[str, Rule] = {
    "activation": activation(),
    "activation-rectangular": activation(Rectangular()),
    "activation-rnn": activation(variant="rnn"),
    "activation-slayer": activation(variant="slayer"),
    "timing": timing(),
    "antlr": antlr(),
    **{name: rule() for name, rule in REGISTERED.items() if not issubclass(rule, LayerRule)},
}
"""The rules' variants, and every registered rule that is one pointwise equation."""
RESETS = ("both", "potential", "subtract")
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Row:
    """What a kernel needs on a GPU: registers of a lane, spilled bytes (AMD: registers) of a lane, shared memory."""

    kernel: str
    target: str
    registers: int
    spills: int
    shared_bytes: int


@dataclass(frozen=True)
class Loop:
    """One step of a kernel's loop over time.

    Args:
        instructions: of a warp.
        bytes_moved: of global memory, of a lane.
    """

    instructions: int
    bytes_moved: int


def kernels() -> dict[str, tuple[Any, dict[str, Any]]]:
    """All kernels by name, each with arguments of the kinds that it gets."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for reset in RESETS:
        found[f"forward {reset}"] = (triton_rule.forward_kernel(False), _forward(reset))
    found["forward max_spikes"] = (triton_rule.forward_kernel(False), _forward("both") | {"max_spikes": 3})
    found["forward inference"] = (triton_rule.forward_kernel(False), _forward("both") | {"potentials": None})
    for name, rule in RULES.items():
        for reset in RESETS if name in ("antlr", "activation-rnn") else ("both",):
            found[f"backward {name} {reset}"] = (triton_rule.backward_kernel(rule, False), _backward(rule, reset))
    return found


def _forward(reset: str) -> dict[str, Any]:
    given = dict(triton_rule.example_arguments(reset, False))
    names = ("bias", "potentials", "currents", "counts", "last", "steps", "samples", "neurons", "pixels", "alpha_v")
    kept = {name: given[name] for name in (*names, "alpha_i", "beta_v", "beta_i", "beta_bias", "theta", "RESET")}
    return {"drive": torch.empty(0), "spikes": torch.empty(0, dtype=torch.uint8), "max_spikes": None} | kept


def _backward(rule: Rule, reset: str) -> dict[str, Any]:
    """A hidden layer's: both errors come, where the rule asks, and the layer below learns from times as well."""
    given = {**triton_rule.example_arguments(reset, rule.asks_for("current", "lost_current"), rule.through_reset)}
    if not rule.learns_from_spikes:
        given["error_S"] = None
    if not rule.learns_from_times:
        given["error_t"] = given["shift_error"] = None
    return given | triton_rule.settings(rule)


def compiled(name: str, target: GPUTarget) -> Any:
    """A kernel's machine code."""
    kernel, arguments = kernels()[name]
    source = triton_build.source_of(kernel, arguments, target.warp_size)
    return triton.compile(source, target=target, options=dict(triton_build.OPTIONS))


def measure(name: str, target: str) -> Row:
    """What a kernel needs on one of :data:`TARGETS`."""
    code = compiled(name, TARGETS[target])
    if "amdgcn" in code.asm:
        field = {
            key: int(re.search(rf"\.{key}:\s+(\d+)", code.asm["amdgcn"])[1])  # type: ignore[index]
            for key in ("vgpr_count", "vgpr_spill_count", "sgpr_spill_count")
        }
        spills = field["vgpr_spill_count"] + field["sgpr_spill_count"]
        return Row(name, target, field["vgpr_count"], spills, code.metadata.shared)
    usage = _tool("cuobjdump", "-res-usage", code.asm["cubin"])
    registers, stack, local = (int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK", "LOCAL"))  # type: ignore[index]
    return Row(name, target, registers, stack + local, code.metadata.shared)


def loop_of(name: str, target: GPUTarget) -> Loop:
    """The loop over time in NVIDIA's machine code: what lies between a label and the last branch back to it."""
    lines = _tool("nvdisasm", "-c", compiled(name, target).asm["cubin"]).splitlines()
    labels = {match[1]: at for at, line in enumerate(lines) if (match := re.match(r"(\.L_x_\d+):", line))}
    backward = [
        (labels[match[1]], at)
        for at, line in enumerate(lines)
        if (match := re.search(r"BRA.*`\((\.L_x_\d+)\)", line)) and labels.get(match[1], at) < at
    ]
    body = max((lines[start : end + 1] for start, end in backward), key=lambda part: _moved(part), default=[])
    return Loop(sum(";" in line for line in body), _moved(body))


def _moved(lines: list[str]) -> int:
    """Bytes of global memory that a lane reads and writes."""
    moved = 0
    for line in lines:
        if match := re.search(r"\b(LDGSTS|LDG|STG)\.(\S+)", line):
            width = re.search(r"\b(U8|S8|64|128)\b", match[2].replace(".", " "))
            moved += {"U8": 1, "S8": 1, "64": 8, "128": 16}[width[1]] if width else 4
    return moved


def _tool(name: str, option: str, cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([TOOLS / name, option, file.name], capture_output=True, text=True, check=True).stdout


# --- how long a step should take --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """The limits of a GPU, from its maker's data sheet.

    Args:
        target: whose machine code it runs.
        bytes_per_s: of its memory.
        flops: of products in each of PRODUCTS; of TF32 and bfloat16 on tensor cores, dense, with sums of 32 bits.
        multiprocessors, hz: with four schedulers each; boost clock.
    """

    name: str
    target: GPUTarget
    bytes_per_s: float
    flops: tuple[float, float, float]
    multiprocessors: int
    hz: float


GPUS = [
    Gpu("A100 80GB SXM", GPUTarget("cuda", 80, 32), 2.04e12, (19.5e12, 156e12, 312e12), 108, 1.41e9),
    Gpu("H100 SXM", GPUTarget("cuda", 90, 32), 3.35e12, (67e12, 495e12, 989e12), 132, 1.98e9),
    Gpu("RTX 4090", GPUTarget("cuda", 89, 32), 1.01e12, (82.6e12, 82.6e12, 165e12), 128, 2.52e9),
]
REACHED = 0.75
"""The share of a limit that products and copies are taken to reach."""
LATENCY = 4
"""Cycles from one instruction to the next that depends on it; in a warp's loop nearly all do."""
LAUNCH_S = 4e-6
"""From one kernel to the next where the host launches them one by one."""
LAUNCHES_PER_LAYER, LAUNCHES = 12, 60
"""Of a layer in both directions; and of input, loss, clipping, metrics and optimiser together."""
ROUNDINGS = 3
"""With bfloat16, a product comes with kernels that round what is multiplied and widen the result."""


@dataclass(frozen=True)
class Work:
    """A training step: the sizes of the layers, input first, T, B, and the input events of a sample."""

    sizes: tuple[int, ...]
    steps: int
    batch: int
    events: int


WORK = {
    "mnist T=100 B=16": Work((784, 800, 10), 100, 16, 157),
    "mnist T=300 B=16": Work((784, 800, 10), 300, 16, 157),
    "mnist T=300 B=256": Work((784, 800, 10), 300, 256, 157),
    "nmnist T=300 B=16": Work((2312, 800, 10), 300, 16, 4000),
    "dense T=100 B=16": Work((784, 800, 10), 100, 16, 39200),
    "deep T=300 B=16": Work((784, 400, 400, 400, 400, 10), 300, 16, 157),
}


@cache
def loops(gpu: Gpu) -> tuple[Loop, Loop]:
    """The loops forward, and backward with ANTLR."""
    return loop_of("forward both", gpu.target), loop_of("backward antlr both", gpu.target)


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step: the GPU's own work, and with a host that launches kernel by kernel; its bytes and products."""

    device_s: float
    launched_s: float
    scans_s: float
    products_s: float
    bytes_moved: float
    bandwidth_share: float


def predict(work: Work, gpu: Gpu, numbers: str = "float32") -> Prediction:
    """A training step with ANTLR, from the loops' machine code and the sizes of all arrays.

    Args:
        work: the step.
        gpu: where.
        numbers: one of PRODUCTS.
    """
    scans = products = copies = moved = 0.0
    rows, flops = work.steps * work.batch, gpu.flops[PRODUCTS.index(numbers)] * REACHED
    width, rounding = (2, 6) if numbers == "bf16" else (4, 0)  # bytes of a number: in the product; read and written
    launches = LAUNCHES + LAUNCHES_PER_LAYER * (len(work.sizes) - 1)
    bandwidth = gpu.bytes_per_s * REACHED
    gathers = work.events < work.steps * work.sizes[0] / 32
    for depth, (inputs, neurons) in enumerate(zip(work.sizes, work.sizes[1:], strict=False)):
        warps = work.batch * -(-neurons // 32)
        for loop in loops(gpu):
            scan_bytes = loop.bytes_moved * rows * neurons
            waves = max(LATENCY, -(-warps // (4 * gpu.multiprocessors)))
            scans += max(scan_bytes / bandwidth, work.steps * loop.instructions * waves / gpu.hz)
            moved += scan_bytes
        if depth == 0 and gathers:
            gathered = 2 * 4 * (work.events * work.batch + rows) * neurons  # a row of weights, or of errors, per event
            products += gathered / bandwidth
            moved += gathered
        else:
            one = 2 * rows * inputs * neurons
            parts = 2 + (2 if depth else 0)  # forward, weights; both errors to the layer below
            elements = parts * rows * (inputs + neurons)
            products += max(parts * one / flops, width * elements / bandwidth)
            copied = 10 * rows * inputs + rounding * elements  # bytes to floats, twice
            moved += width * elements + copied
            copies += copied / bandwidth
            launches += ROUNDINGS * (3 if depth else 2) if rounding else 0
    device = scans + products + copies
    return Prediction(
        device, max(device, launches * LAUNCH_S), scans, products, moved, moved / gpu.bytes_per_s / device
    )


def needs(rows: list[Row]) -> Iterator[str]:
    """What the kernels need as lines of Markdown: registers of a lane, and bytes of shared memory of a block."""
    yield f"| kernel | {' | '.join(TARGETS)} |"
    yield f"|---|{'---:|' * len(TARGETS)}"
    for name in dict.fromkeys(row.kernel for row in rows):
        found = {row.target: row for row in rows if row.kernel == name}
        yield f"| {name} | {' | '.join(f'{found[t].registers}, {found[t].shared_bytes}' for t in TARGETS)} |"


def table() -> Iterator[str]:
    """The predictions as lines of Markdown."""
    yield "| workload | GPU | scans µs | products µs | step µs | launched µs | bandwidth |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for name, work in WORK.items():
        for gpu in GPUS:
            found = [predict(work, gpu, numbers) for numbers in PRODUCTS]
            parts = [[p.products_s for p in found], [p.device_s for p in found], [p.launched_s for p in found]]
            figures = [f"{1e6 * found[0].scans_s:.0f}", *(_each(f"{1e6 * s:.0f}" for s in part) for part in parts)]
            share = _each(f"{100 * p.bandwidth_share:.0f}" for p in found)
            yield f"| {name} | {gpu.name} | {' | '.join(figures)} | {share} % |"


def _each(figures: Iterable[str]) -> str:
    """A figure for each of PRODUCTS, or the one that they share."""
    found = list(figures)
    return found[0] if len(set(found)) == 1 else " / ".join(found)


def main(argv: list[str]) -> int:
    """Print what every kernel needs, then the predictions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_kernels", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the kernels as a JSON list")
    parser.add_argument("--page", action="store_true", help="write the predictions to docs/PERFORMANCE.md")
    options = parser.parse_args(argv)
    if options.json and not options.json.parent.is_dir():
        raise UserError(f"--json={options.json}: the folder {options.json.parent} does not exist; create it first")
    rows = []
    for name in kernels():
        for target in TARGETS:
            rows.append(row := measure(name, target))
            needed = f"{row.registers:4} registers {row.spills:4} spilled {row.shared_bytes:6} B shared"
            print(f"{name:32} {target:11} {needed}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    for gpu in GPUS:
        for name, loop in zip(("forward both", "backward antlr both"), loops(gpu), strict=True):
            print(f"{name:32} {gpu.name:14} {loop.instructions:4} instructions {loop.bytes_moved:3} bytes a step")
    lines = list(table())
    print("\n".join(lines))
    if options.page:
        from benchmarks.performance_page import write_gpu_section

        write_gpu_section(rows, list(needs(rows)), lines)
    return 0


if __name__ == "__main__":
    run_command(main)
