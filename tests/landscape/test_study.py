"""How true a gradient is over scales: on functions with known answers, and the command on two small runs."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import UserError
from app.landscape import study
from app.landscape.directions import filter_normalised_direction
from app.landscape.scales import POINT, SMOOTHED, TRUE, ceiling, cosine, measured_slopes, pair_slope
from tests.support.run_tools import run


class Bumpy:
    """A loss Σ θ² with a ripple of period 0.2, whose own gradient and the smooth part's are two rules."""

    samples = 1
    rules = ("smooth", "own", "wrong")

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.parameters = [torch.randn(4, 3, generator=generator, dtype=torch.float64)]

    def loss(self):
        (p,) = self.parameters
        return float(p.square().sum() + 0.05 * torch.sin(10 * math.pi * p).sum())

    def gradient(self, rule):
        (p,) = self.parameters
        own = 2 * p + 0.5 * math.pi * torch.cos(10 * math.pi * p)
        return [{"smooth": 2 * p, "own": own, "wrong": -2 * p}[rule]]


def slopes(scales, pairs=8):
    subject = Bumpy()
    lines = [filter_normalised_direction(subject.parameters, k) for k in range(12)]
    return measured_slopes(subject, lines, scales, pairs, 0)


def test_near_the_loss_its_own_gradient_is_true_and_far_away_the_smooth_one():
    found = slopes((0.002, 1.0))
    truth = {
        (kind, rule): [cosine(found[f"{kind} {rule}"][:, s], found[TRUE][:, s]) for s in (0, 1)]
        for kind in (POINT, SMOOTHED)
        for rule in Bumpy.rules
    }
    assert truth[POINT, "own"][0] > 0.999
    assert truth[POINT, "smooth"][1] > 0.98 > truth[POINT, "own"][1]
    assert truth[POINT, "wrong"][1] < -0.98
    assert truth[SMOOTHED, "own"][0] > 0.999


def test_prediction_and_truth_are_smoothed_alike():
    """A straight line through the loss's own slopes, fine enough, is the loss."""
    found = slopes((0.02,), pairs=200)
    assert cosine(found[f"{SMOOTHED} own"][:, 0], found[TRUE][:, 0]) > 0.999
    losses = {u: 3 * u + 5 for u in (-0.2, -0.1, 0.1, 0.2)}
    assert pair_slope([0.1, 0.2], losses) == pytest.approx(3)


def test_the_ceiling_is_that_of_the_noise():
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=200_000), rng.normal(size=(2, 200_000))
    halves = truth + noise  # r = 1/2: both together have the variances 1 and 1/2
    assert ceiling(*halves) == pytest.approx(math.sqrt(2 / 3), abs=0.01)
    assert cosine(truth, halves.mean(0)) == pytest.approx(math.sqrt(2 / 3), abs=0.01)
    assert ceiling(truth, truth) == pytest.approx(1)
    assert ceiling(truth, -truth) == 0
    assert math.isnan(ceiling(truth, 0 * truth))


@pytest.mark.slow
def test_the_command_measures_networks_along_training_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        run(f"seed={seed}", "keep_after_epochs=[1]", f"out=runs/s{seed}")
    assert Path("runs/s0/checkpoints/epoch1.ckpt").is_file()
    given = ["runs", "epochs=0,1,best", "scales=0.05,0.2", "lines=3", "pairs=2", "samples=8", "out=study"]
    assert study.main(given) == 0
    with Path("study/study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2 * 3, "networks, epochs, scales, rules"
    assert {row["epoch"] for row in rows} == {"0", "1", "best"}
    assert all(-1 <= float(row["point"]) <= 1 for row in rows if row["point"] != "nan")
    text = Path("study/study.md").read_text()
    assert "3 lines through 2 networks" in text
    assert "| antlr | best | 0.2 | 2 |" in text
    assert {p.name for p in Path("study").iterdir()} == {f"study.{kind}" for kind in ("csv", "md", "png", "svg")}
    before = Path("study/study.csv").read_text()
    monkeypatch.setattr(study, "load", None)  # nothing is measured again
    assert study.main(given) == 0
    assert Path("study/study.csv").read_text() == before
    for wrong, named in (
        (["runs", "epochs=7", "out=study"], r"no checkpoints/epoch7\.ckpt: train with keep_after_epochs=\[7\]"),
        (["runs", "epochs=x", "out=study"], "epochs=x must be whole numbers"),
        (["runs", "scales=0", "out=study"], "scales=0 must be numbers above 0"),
        (["runs", "lines=1", "out=study"], "lines=1 must be a whole number from 2"),
        (["out=study"], "RUNS is missing"),
    ):
        with pytest.raises(UserError, match=named):
            study.main(wrong)
