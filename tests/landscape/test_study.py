"""How true a gradient is over scales: on functions with known answers, and the command on two small runs."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import UserError
from app.landscape import study
from app.landscape.checkpoint import load
from app.landscape.directions import filter_normalised_direction
from app.landscape.networks import Mean, ceiling, mean_cosine
from app.landscape.scales import (
    POINT,
    SMOOTHED,
    TRUE,
    cosine,
    measured_slopes,
    pair_slope,
    reliability,
    squared_slope,
)
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


def noisy_network(rng, noise, lines=12, pairs=6):
    """True and measured slopes, and their reliability, where L(u) − L(−u) = 2 s u + ε."""
    true, measured, squares = rng.normal(size=lines), np.empty(lines), np.empty(lines)
    for k, s in enumerate(true):
        above = [float(abs(u)) for u in rng.normal(size=pairs)]
        losses = {}
        for u in above:
            losses[u], losses[-u] = s * u + noise * rng.normal(), -s * u
        measured[k], squares[k] = pair_slope(above, losses), squared_slope(above, losses)
    return true, measured, reliability(measured, squares)


def test_the_ceiling_is_that_of_the_noise():
    """The variance of Σ u ε / 2 Σ u² with 6 pairs is that of ε by 16 (E[1 / χ²_6] = 1/4): half the power is signal."""
    rng = np.random.default_rng(0)
    found = [noisy_network(rng, 4) for _ in range(400)]
    shares = [share for _, _, share in found]
    assert min(shares) < 0, "nothing is cut off"
    most = ceiling(shares)
    assert most.mean == pytest.approx(math.sqrt(1 / 2), abs=0.03)
    assert most.low < math.sqrt(1 / 2) < most.high < most.low + 0.1
    true, measured = (np.concatenate([one[k] for one in found]) for k in (0, 1))
    assert cosine(true, measured) == pytest.approx(math.sqrt(1 / 2), abs=0.03), "what a perfect prediction reaches"


def test_the_interval_of_the_ceiling_covers_it_in_few_networks():
    rng = np.random.default_rng(2)
    studies = [ceiling(noisy_network(rng, 4)[2] for _ in range(8)) for _ in range(100)]
    assert sum(one.low < math.sqrt(1 / 2) < one.high for one in studies) >= 85


def test_without_noise_the_ceiling_is_one_and_without_signal_none():
    rng = np.random.default_rng(1)
    assert ceiling([noisy_network(rng, 0)[2]]).mean == pytest.approx(1)
    nothing = ceiling(noisy_network(rng, 1000)[2] for _ in range(200))
    assert nothing.low < 0 < nothing.high
    assert ceiling([-0.25]).mean == -0.5
    assert math.isnan(reliability(np.zeros(3), np.zeros(3)))
    flat = ceiling([math.nan, 0.25])
    assert (flat.mean, flat.n, flat.networks) == (0.5, 1, 2)
    assert str(ceiling([math.nan])) == "–"


def test_a_mean_says_over_how_many_networks_and_stays_a_cosine():
    mean = mean_cosine([0.99, 0.1, math.nan])
    assert (mean.n, mean.networks) == (2, 3)
    assert -1 <= mean.low < mean.mean < mean.high <= 1
    assert str(mean).endswith("(2 of 3)")
    assert str(mean_cosine([0.5, 0.5])) == "0.50 [0.50, 0.50] (2 of 2)"
    assert str(mean_cosine([0.5])) == "0.50 (1 of 1)"
    assert str(mean_cosine([math.nan])) == "–"
    assert str(mean_cosine([1.0, 1.0])) == "1.00 [1.00, 1.00] (2 of 2)"
    assert str(ceiling([0.2, 0.9])) == "0.74 [< −1, > 1] (2 of 2)"
    assert str(Mean(-0.3, math.nan, math.nan, 1, 2)) == "-0.30 (1 of 2)"


def test_a_cell_without_a_cosine_says_why():
    moving, still = np.array([1.0, -2.0]), np.zeros(2)
    assert study._why(moving, moving, 3.0) == ""
    assert study._why(still, moving, 0.0) == "silent"
    assert study._why(still, moving, 3.0) == "flat"
    assert study._why(moving, still, 3.0) == "no slope"


def test_epoch_0_is_the_network_before_its_first_step(tmp_path, monkeypatch):
    """Where it hardly learns, training ends with the weights of epoch 0."""
    monkeypatch.chdir(tmp_path)
    run("seed=3", "optim.lr=1e-30", "optim.weight_decay=0", "trainer.max_epochs=1", "out=r")
    still, trained = (load(Path("r"), [], 8, untrained).subject for untrained in (True, False))
    for before, after in zip(still.parameters, trained.parameters, strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=1e-20)


@pytest.mark.slow
def test_the_command_measures_networks_along_training_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        run(f"seed={seed}", "keep_after_epochs=[1]", f"out=runs/s{seed}")
    assert Path("runs/s0/checkpoints/epoch1.ckpt").is_file()
    given = ["runs", "epochs=0,1,best", "scales=0.05,0.2", "lines=3", "pairs=4", "samples=8", "out=study"]
    assert study.main(given) == 0
    with Path("study/study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2 * 3, "networks, epochs, scales, rules"
    assert {row["epoch"] for row in rows} == {"0", "1", "best"}
    assert all(-1 <= float(row["point"]) <= 1 for row in rows if row["point"] != "nan")
    text = Path("study/study.md").read_text()
    assert "3 lines through 2 networks" in text
    assert "| antlr | best | 0.2 | " in text
    with Path("study/means.csv").open(newline="") as file:
        means = list(csv.DictReader(file))
    assert len(means) == 3 * 2 * (1 + 3 * 2), "epochs, scales, the ceiling and two kinds of three rules"
    assert {row["networks"] for row in means} == {"2"}
    for row in means:
        where = ("rule", "scale", "epoch")
        of_networks = [one.get(row["kind"]) for one in rows if all(one[name] == row[name] for name in where)]
        if row["rule"]:
            assert int(row["n"]) == sum(value != "nan" for value in of_networks)
            assert row["n"] == "0" or -1 <= float(row["mean"]) <= 1
    assert all(bool(row["why"]) == (row["point"] == "nan") for row in rows)
    written = {"means.csv", *(f"study.{kind}" for kind in ("csv", "md", "png", "svg"))}
    assert {p.name for p in Path("study").iterdir()} == written
    before = Path("study/study.csv").read_text()
    monkeypatch.setattr(study, "load", None)  # nothing is measured again
    assert study.main(given) == 0
    assert Path("study/study.csv").read_text() == before
    for wrong, named in (
        (["runs", "epochs=7", "out=study"], r"no checkpoints/epoch7\.ckpt: train with keep_after_epochs=\[7\]"),
        (["runs", "epochs=x", "out=study"], "epochs=x must be whole numbers"),
        (["runs", "scales=0", "out=study"], "scales=0 must be numbers above 0"),
        (["runs", "pairs=3", "out=study"], "pairs=3 must be a whole number from 4"),
        (["runs", "lines=1", "out=study"], "lines=1 must be a whole number from 2"),
        (["out=study"], "RUNS is missing"),
    ):
        with pytest.raises(UserError, match=named):
            study.main(wrong)
