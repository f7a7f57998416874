"""Loss landscape and gradient fidelity: on functions with known answers, and the command on a small run."""

import csv
import math
import sys

import pytest
import torch

import train
from app.errors import run_command
from app.landscape import __main__ as command
from app.landscape.checkpoint import load
from app.landscape.directions import filter_normalised_direction, measure_along, measure_on_plane
from app.landscape.fidelity import (
    Agreement,
    agreement,
    central_difference,
    descent_direction,
    gradient,
    integrate,
    layer_directions,
    relative_error,
    slope,
    smooth,
)
from app.landscape.measure import Line, even_steps
from app.landscape.spike_changes import SpikeChanges, spike_changes
from app.landscape.write import verdict


@pytest.fixture
def point():
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 4), (5,), (3, 5), (3,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def bowl(parameters):
    """A loss with a known gradient 2θ."""
    return sum(p.square().sum() for p in parameters)


def test_directions_have_the_norms_of_the_weights_and_leave_biases(point):
    direction = filter_normalised_direction(point, seed=1)
    assert torch.allclose(direction[0].norm(dim=1), point[0].norm(dim=1))
    assert not direction[1].any()
    (first, second) = layer_directions(point, 2, count=2, seed=1)
    assert [bool(d.any()) for d in first] == [False, False, True, False]
    assert not torch.equal(first[2], second[2])


def test_measuring_puts_the_weights_back_bit_for_bit_even_after_an_error(point):
    before = [p.clone() for p in point]
    one, two = filter_normalised_direction(point, 1), filter_normalised_direction(point, 2)
    losses = measure_on_plane(lambda: float(bowl(point).detach()), point, (one, two), [-1.0, 0.0, 1.0])
    assert losses[1][1] == float(bowl(point).detach())
    assert losses[1] == measure_along(lambda: float(bowl(point).detach()), point, one, [-1.0, 0.0, 1.0])
    with pytest.raises(ZeroDivisionError):
        measure_along(lambda: 1 / 0, point, one, [1.0])
    assert all(torch.equal(p, start) for p, start in zip(point, before, strict=True))


def test_a_true_gradient_predicts_the_measure_along_a_line(point):
    direction, steps = filter_normalised_direction(point, 3), even_steps(41, 0.5)
    losses = measure_along(lambda: float(bowl(point).detach()), point, direction, steps)
    slopes = measure_along(lambda: slope(gradient(lambda: bowl(point), point), direction), point, direction, steps)
    assert integrate(steps, slopes, float(bowl(point).detach())) == pytest.approx(losses)
    assert relative_error(losses, losses) == 0
    assert relative_error([sum(losses) / len(losses)] * len(losses), losses) == pytest.approx(1)


def test_a_true_gradient_agrees_with_central_differences_and_a_wrong_one_does_not(point):
    directions = layer_directions(point, 0, count=20, seed=0)
    differences = [central_difference(lambda: float(bowl(point).detach()), point, d, 0.1) for d in directions]
    grad = gradient(lambda: bowl(point), point)
    slopes = [slope(grad, d) for d in directions]
    assert slopes == pytest.approx(differences)
    assert agreement(slopes, differences) == pytest.approx((1, 0, 1, 20))
    assert agreement([-s for s in slopes], differences)[:3] == pytest.approx((-1, 0, 0))
    assert math.isnan(agreement([0.0] * 20, differences).cosine)
    assert agreement(slopes, [0.0] * 20).n == 0


def test_the_central_difference_is_the_slope_of_the_smoothed_loss():
    (x,) = parameters = [torch.zeros(1, 1)]
    step = central_difference(lambda: float(x > 0.05), parameters, [torch.ones(1, 1)], 0.3)
    assert step == pytest.approx((0.1 + 0.2 + 0.3) / (2 * (0.01 + 0.04 + 0.09)))


def test_downhill_is_downhill_and_as_long_as_the_weights(point):
    direction = descent_direction(point, gradient(lambda: bowl(point), point))
    losses = measure_along(lambda: float(bowl(point).detach()), point, direction, [0.0, 0.1])
    assert losses[1] < losses[0]
    length = math.sqrt(sum(float(d.square().sum()) for d in direction))
    assert length == pytest.approx(math.sqrt(sum(float(p.detach().square().sum()) for p in point[::2])))


def test_a_loss_without_gradient_has_a_zero_gradient(point):
    assert not any(g.any() for g in gradient(lambda: torch.tensor(1.0), point))
    assert gradient(lambda: point[0].sum(), point)[2].eq(0).all()


def test_smoothing_keeps_a_constant_and_flattens_a_peak():
    steps = even_steps(21, 1.0)
    assert (len(steps), steps[10]) == (21, 0.0)
    assert smooth(steps, [2.0] * 21, 0.2) == pytest.approx([2.0] * 21)
    peak = smooth(steps, [float(step == 0) for step in steps], 0.2)
    assert peak[10] == max(peak) < 0.5


def made_line(**slopes):
    """A line on which the loss is |a|, and rules that predict a slope times that, near 0 and further out."""
    steps = even_steps(13, 0.6)
    loss = [abs(a) for a in steps]
    predicted = {
        rule: [min(v, 0.2) * near + max(v - 0.2, 0) * far for v in loss] for rule, (near, far) in slopes.items()
    }
    return Line(steps, loss, loss, predicted, [SpikeChanges(1, 2, 3, 4)] * 12)


def test_where_a_prediction_is_true_is_told_from_where_it_is_not():
    line = made_line(activation=(-1.0, 2.0), antlr=(1.0, 0.5), timing=(0.0, 1.0))
    assert line.truth("activation", is_near=True) == pytest.approx((-1, 0, 0, 1))
    assert line.truth("activation", is_near=False) == pytest.approx((1, 0, 1, 2))
    assert line.truth("antlr", is_near=False).size == pytest.approx(0.5)
    assert math.isnan(line.truth("timing", is_near=True).cosine)
    assert line.truth("timing", is_near=True).signs == 0


def test_the_verdict_names_who_tells_the_truth_where():
    found = {
        ("layer 1", rule): Agreement(cosine, 0.1, 0.5, 64) for rule, cosine in (("activation", 0.1), ("antlr", 0.15))
    }
    found |= {
        ("layer 2", rule): Agreement(cosine, 0.05, 0.5, 64) for rule, cosine in (("activation", 0.4), ("antlr", 0.8))
    }
    found |= {("layer 3", rule): Agreement(cosine, 0.1, 0.5, 64) for rule, cosine in (("timing", 0.7), ("antlr", 0.8))}
    text = verdict(made_line(activation=(-1.0, 1.0), antlr=(1.0, -1.0)), found)
    assert "| on the line, near | antlr | activation -1.00 ± 0.00, antlr 1.00 ± 0.00 |" in text
    assert "| on the line, further out | activation |" in text
    assert "| layer 1, at the current point | none |" in text
    assert "| layer 2, at the current point | antlr | activation 0.40 ± 0.05, antlr 0.80 ± 0.05 |" in text
    assert "| layer 3, at the current point | timing or antlr |" in text
    assert "line" not in verdict(None, found)


def trains(*steps_by_neuron, time_steps=20):
    spikes = torch.zeros(time_steps, 1, len(steps_by_neuron))
    for neuron, steps in enumerate(steps_by_neuron):
        spikes[steps, 0, neuron] = 1
    return spikes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([[3, 9]], [[3, 9]], SpikeChanges(2, 0, 0, 0)),
        ([[3]], [[5]], SpikeChanges(0, 0, 0, 1)),
        ([[3]], [[1]], SpikeChanges(0, 0, 0, 1)),
        ([[3]], [[15]], SpikeChanges(0, 1, 1, 0)),
        ([[3]], [[3, 5]], SpikeChanges(1, 1, 0, 0)),
        ([[3, 5]], [[4]], SpikeChanges(0, 0, 1, 1)),
        ([[3], []], [[], [3]], SpikeChanges(0, 1, 1, 0)),
        ([[0, 19]], [[1, 18]], SpikeChanges(0, 0, 0, 2)),
    ],
)
def test_spikes_are_matched(before, after, expected):
    assert spike_changes(trains(*before), trains(*after)) == expected


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run."""
    out = tmp_path_factory.mktemp("run") / "r"
    small = ["network=[64,fc20,fc10]", "time_steps=30", "trainer.enable_progress_bar=false", "tracking.mode=disabled"]
    assert train.main([*small, "trainer.max_epochs=1", "probes.raster=false", f"out={out}"]) == 0
    return out


FAST = ["points=5", "plane_points=3", "directions=4", "samples=16"]


@pytest.mark.slow
def test_the_command_measures_everything(run, capsys):
    assert command.main([f"ckpt={run}", *FAST]) == 0
    printed = capsys.readouterr().out
    folder = run / "landscape"
    text = (folder / "landscape.md").read_text()
    assert text in printed
    for words in (
        "trained by the antlr rule for 1 epochs",
        "    python -m app.landscape ckpt=",
        "| on the line, further out |",
        "| layer 2 | timing |",
        "| activation |",
        "spikes per sample",
    ):
        assert words in text
    for name in ("line.png", "plane.png"):
        assert (folder / name).stat().st_size > 5000
    with (folder / "line.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [-0.5, -0.25, 0, 0.25, 0.5]
    assert rows[2]["predicted_timing"] == rows[2]["smoothed"]
    assert len((folder / "plane.csv").read_text().splitlines()) == 10
    assert len((folder / "fidelity.csv").read_text().splitlines()) == 7


def test_one_part_alone_in_a_chosen_folder_along_a_gradient(run, tmp_path):
    assert command.main([f"ckpt={run}", "--line", "along=timing", f"out={tmp_path}", *FAST]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"landscape.md", "line.csv", "line.png"}


def test_the_count_loss_has_no_timing_gradient(run, tmp_path, monkeypatch, capsys):
    assert command.main([f"ckpt={run}", "loss=count", "--fidelity", f"out={tmp_path}", *FAST]) == 0
    assert "timing" not in (tmp_path / "fidelity.csv").read_text()
    code, message = exit_of([f"ckpt={run}", "loss=count", "along=timing"], monkeypatch, capsys)
    assert (code, "along=timing" in message) == (2, True)


def test_looking_changes_neither_the_weights_nor_the_rule(run):
    subject = load(run, [], samples=8).subject
    before, rule = [p.clone() for p in subject.parameters], subject.network.rule
    one, other = subject.gradient("activation"), subject.gradient("timing")
    assert not torch.equal(one[0], other[0])
    assert subject.network.rule is rule
    assert all(torch.equal(p, start) for p, start in zip(subject.parameters, before, strict=True))


def exit_of(argv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["landscape", *argv])
    with pytest.raises(SystemExit) as leaving:
        run_command(command.main)
    return leaving.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "ckpt"),
        (["ckpt=no/such.ckpt"], "no/such.ckpt"),
        (["ckpt=x", "points=two"], "points"),
        (["ckpt=x", "points=1"], "points"),
        (["ckpt=x", "span=0"], "span"),
        (["ckpt=x", "span=nan"], "span"),
        (["ckpt=x", "along=sgd"], "along"),
        (["ckpt=x", "--surface"], "--surface"),
    ],
)
def test_bad_input_is_one_sentence(argv, named, monkeypatch, capsys):
    code, message = exit_of(argv, monkeypatch, capsys)
    assert code == 2
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert named in message


def test_unknown_settings_and_unwritable_folders_are_named(run, monkeypatch, capsys):
    code, message = exit_of([f"ckpt={run}", "optim.lrr=1"], monkeypatch, capsys)
    assert (code, "optim.lr" in message) == (2, True)
    code, message = exit_of([f"ckpt={run}", "out=/proc/nope", *FAST], monkeypatch, capsys)
    assert (code, "out=/proc/nope" in message) == (2, True)
