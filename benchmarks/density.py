"""Is ``event_driven`` ever slower than ``layerwise``: ``python -m benchmarks.density [--quick]``.

A training step of 784-width-10 over a grid of input density (the share of inputs that fire in every step), width of the
hidden layer and batch size. Both engines take turns in one process on one thread; the table holds the least CPU time of
several steps, so that other work on the machine disturbs little, and how many times faster ``event_driven`` is. The
last line names the worst ratio: ``engine=auto`` prefers ``event_driven`` (``app/engines``), which is right while that
is 1 or more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import product

import torch

from app.errors import run_command
from app.events import SpikeEvents
from app.network import Network
from app.neuron.lif import Neuron
from benchmarks.engines import ALPHA, RULES, Step, loss_of

INPUTS, TIME_STEPS = 784, 100
DENSITIES, WIDTHS, BATCHES = (0.001, 0.01, 0.1, 0.5, 1.0), (32, 200, 800), (1, 16, 128)
ENGINES = ("event_driven", "layerwise")
LEAST_S, MOST_TURNS = 0.5, 20
"""Every engine takes turns until it has run so long, two at least."""


def _step(engine: str, rule: str, density: float, width: int, batch: int) -> Step:
    torch.manual_seed(0)
    neuron = Neuron.auto(ALPHA, ALPHA, TIME_STEPS)
    network = Network([str(INPUTS), f"fc{width}", "fc10"], neuron, RULES[rule], 0.0, engine)
    spikes_TBM = (torch.rand(TIME_STEPS, batch, INPUTS) < density).float()
    spikes = SpikeEvents.from_dense(spikes_TBM) if engine == ENGINES[0] else spikes_TBM
    label_B = torch.randint(0, 10, (batch,))

    def step() -> None:
        output = network(spikes)
        loss_of(rule, output.spikes_TBN, output.times_TBN, label_B).backward()

    return step


def cpu_ms(rule: str, density: float, width: int, batch: int) -> list[float]:
    """The least CPU time of a step of each engine, which take turns."""
    steps = [_step(engine, rule, density, width, batch) for engine in ENGINES]
    for step in steps:
        step()
    found: list[list[float]] = [[] for _ in steps]
    while len(found[0]) < MOST_TURNS and (len(found[0]) < 2 or sum(map(sum, found)) < 1e3 * LEAST_S * len(steps)):
        for step, own in zip(steps, found, strict=True):
            start = time.process_time()
            step()
            own.append(1e3 * (time.process_time() - start))
    return [min(own) for own in found]


def grid(rule: str, quick: bool) -> Iterator[tuple[str, float]]:
    """A line of the table, and the ratio in it, for every point of the grid."""
    batches, widths = (BATCHES[:2], WIDTHS[::2]) if quick else (BATCHES, WIDTHS)
    for density, width, batch in product(DENSITIES, widths, batches):
        own, other = cpu_ms(rule, density, width, batch)
        yield f"| {density:.1%} | {width} | {batch} | {own:.2f} | {other:.2f} | {other / own:.1f} |", other / own


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.density", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rule", choices=RULES, default="antlr")
    parser.add_argument("--quick", action="store_true", help="the corners of the grid")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"784-width-10, T = {TIME_STEPS}, rule={options.rule}, one thread; milliseconds of CPU time per step\n")
    print("| density | width | batch | event_driven | layerwise | ratio |\n|---:|---:|---:|---:|---:|---:|", flush=True)
    ratios = []
    for line, ratio in grid(options.rule, options.quick):
        ratios.append(ratio)
        print(line, flush=True)
    print(f"\nworst ratio: {min(ratios):.2f}")


if __name__ == "__main__":
    run_command(main)
