"""Loss curves of every rule on every task, 50 steps each; ``python -m tests.support.curves --write`` stores them.

The stored curves say whether a change of the code changed what is trained. ``--spread`` prints what tolerance they
need: how far a curve moves when every weight is changed by some rounding errors of a float32 before the first step,
which is what another processor, with another order of summation, does.
"""

import json
import sys
from collections.abc import Iterator

import torch

from app.config import load_config
from app.events import Batch, SpikeEvents
from app.rules import RULES
from app.training.build import build_data, build_module
from tests.support import ROOT

FOLDER = ROOT / "tests/golden_curves"
STEPS = 50
TASKS = {
    "digits": ["task=digits", "network=[64,fc20,fc10]"],
    "mnist": ["task=mnist", "network=[784,fc20,fc10]"],
    "nmnist": ["task=nmnist", "network=[2x34x34,flatten,fc20,fc10]"],
    "spike_trains": ["task=spike_trains", "network=[20,fc20,fc5]"],
    "yinyang": ["task=yinyang", "data.last_step=20", "data.bias_step=10"],
}
"""The settings of each task. What mnist and nmnist load is made up (:func:`_made_up`)."""
OWN = {rule: ["neuron.max_spikes_per_neuron=1"] for rule in ("bptc", "s4nn")}
COMMON = ["time_steps=25", "data.batch_size=16", "init_bias_center=1", "optim.lr=0.003"]


def curve(rule: str, task: str, steps: int = STEPS, noise: float = 0.0) -> list[float]:
    """The loss before each step of Adam."""
    config = load_config([*TASKS[task], f"rule={rule}", *COMMON, *OWN.get(rule, [])])
    module = build_module(config)
    if noise:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(1 + noise * torch.randn(weight.shape, generator=generator))
    made_up = task in ("mnist", "nmnist")
    batches = _made_up(module.network.input_shape) if made_up else _again(build_data(config, module.network))
    optimiser, losses = torch.optim.Adam(module.parameters(), config.optim.lr), []
    for _, batch in zip(range(steps), batches, strict=False):
        optimiser.zero_grad()
        loss = module.loss(module.network(batch.events), batch)
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
    return losses


def _again(data) -> Iterator[Batch]:
    loader = data.train_dataloader()
    while True:
        yield from loader


def _made_up(shape: tuple[int, ...]) -> Iterator[Batch]:
    """Two classes of random events, each with rates of its own."""
    generator = torch.Generator().manual_seed(3)
    rates_CN = 0.1 * torch.rand((10, *shape), generator=generator) ** 3
    while True:
        label_B = torch.randint(10, (16,), generator=generator)
        spikes_TBN = torch.rand((25, 16, *shape), generator=generator) < rates_CN[label_B]
        yield Batch(SpikeEvents.from_dense(spikes_TBN.float()), label_B, None)


def stored(rule: str) -> dict[str, list[float]]:
    """The stored curves of a rule by task."""
    return json.loads((FOLDER / f"{rule}.json").read_text())


def distance(one: list[float], other: list[float]) -> float:
    """The mean difference of two curves, relative to the larger of the two first losses."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one) / max(abs(one[0]), abs(other[0]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for rule in sorted(RULES):
        curves = {task: curve(rule, task) for task in TASKS}
        if "--write" in sys.argv:
            rounded = {task: [float(f"{loss:.6g}") for loss in losses] for task, losses in curves.items()}
            rows = ",\n".join(f'  "{task}": {json.dumps(losses)}' for task, losses in rounded.items())
            (FOLDER / f"{rule}.json").write_text(f"{{\n{rows}\n}}\n")
        for task, losses in curves.items():
            spread = distance(losses, curve(rule, task, noise=1e-6)) if "--spread" in sys.argv else float("nan")
            print(f"{rule:12}{task:14}{losses[0]:10.4f}{losses[-1]:10.4f}  spread {spread:.1e}", flush=True)
