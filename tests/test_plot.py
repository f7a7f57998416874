"""Pictures of small networks: every one is drawn, shows what it says, and shows no test data."""

import json
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from app import plot, portraits
from app.data.tasks.nmnist import NMNIST
from app.errors import UserError
from app.pictures import raster
from app.portraits import PICTURES, NothingToDraw, drawn
from app.training.summary import report
from app.training.trained import load_trained
from tests.support.run_tools import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("plot") / "run"
    run(f"out={out}", "init_bias_center=1", "callbacks=[pictures]")
    return out


@pytest.fixture(scope="module")
def view(trained):
    return plot.view_of(load_trained(trained), trained, "3")


def test_the_end_of_a_run_names_the_pictures(trained):
    summary = json.loads((trained / "summary.json").read_text())
    assert f"{trained}: config.yaml, metrics.csv, summary.json, checkpoints/, pictures/" in report(summary, trained)


def texts(figure):
    """All words of a figure."""
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_the_command_and_the_callback_draw_the_same_pictures(trained, tmp_path, capsys):
    assert sorted(path.name for path in (trained / "pictures").iterdir()) == sorted(f"{name}.png" for name in PICTURES)
    before = json.loads((trained / "summary.json").read_text())
    assert plot.main([f"ckpt={trained}", f"out={tmp_path / 'here'}", "format=svg", "sample=2"]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / "here" / f"{name}.svg") for name in PICTURES]
    assert all(Path(path).read_text().startswith("<?xml") for path in printed)
    assert json.loads((trained / "summary.json").read_text()) == before
    assert plot.main([f"ckpt={trained}", "what=psp,cost"]) == 0


@pytest.mark.parametrize("name", PICTURES)
def test_axes_say_what_they_measure(name, view):
    figure = PICTURES[name](view)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    axes = [ax for ax in figure.findobj(lambda artist: hasattr(artist, "get_ylabel")) if ax.axison]
    assert axes
    assert all(ax.get_ylabel() for ax in axes)
    assert any(ax.get_xlabel() for ax in axes)


def test_numbers_in_pictures_are_those_of_the_network(view):
    readout = view.needs_labels()
    batch = view.samples.__getitems__(list(range(len(view.samples))))
    output = view.network(batch.events)
    right = (portraits.READOUTS[readout](portraits.first_spike_steps(output.spikes_TBN), None) == batch.label_B).float()
    title = next(text for text in texts(portraits.confusion(view)) if "right" in text)
    assert f"{len(right)} validation samples, {float(right.mean()):.2%} right by first spike" in title
    ax = portraits.cost(view).axes[0]
    spent = sum(float(activity.totals_TB.sum()) for activity in output.layers) / len(right)
    assert ax.lines[0].get_xdata()[-1] == pytest.approx(spent)
    row = max(view.rows, key=lambda row: row.get("val/accuracy_first", -1))
    assert float(ax.lines[-1].get_ydata()[0]) <= row["val/accuracy_first"] + 1e-6


def test_traces_mark_the_threshold_and_the_spikes(view):
    ax = portraits.traces(view).axes[0]
    assert ax.lines[0].get_ydata()[0] == view.network.neuron.threshold
    potentials, marks = ax.lines[1], ax.lines[2]
    assert len(potentials.get_ydata()) == view.samples.time_steps
    assert all(float(y) >= view.network.neuron.threshold for y in torch.as_tensor(marks.get_ydata()))


def test_what_a_task_does_not_have_is_left_out_and_said(tmp_path, capsys):
    out = tmp_path / "trains"
    run(f"out={out}", "task=spike_trains", "network=null", "trainer.max_epochs=1")
    names = [name for name, figure in drawn(plot.view_of(load_trained(out), None, "0")) if isinstance(figure, Figure)]
    assert names == ["rasters", "traces", "psp", "weights"]
    assert plot.main([f"ckpt={out}"]) == 0
    assert "left out: confusion (the task has no labels)" in capsys.readouterr().out
    with pytest.raises(UserError, match="no labels"):
        plot.main([f"ckpt={out}", "what=confusion"])


def test_kernels_of_a_convolution_are_images(tmp_path):
    out = tmp_path / "conv"
    run(f"out={out}", "network=[1x8x8,conv3c3,apool2,flatten,fc10]", "trainer.max_epochs=1",
        "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1")  # fmt: skip
    view = plot.view_of(load_trained(out), out, "0")
    assert "layer 1: kernels" in texts(portraits.weights(view))
    assert {"channel 0", "channel 1", "channel 2"} <= texts(portraits.rasters(view))
    for name, figure in drawn(view):
        assert isinstance(figure, Figure), name


def test_rows_of_a_raster_lie_together_by_channel_and_are_named():
    spikes = torch.zeros(10, 2, 3, 4)
    spikes[4, 1, 0, 0] = 1
    figure = raster([("input", spikes), ("layer 1", torch.zeros(10, 5))], 10, "title", 10, NMNIST.channel_names)
    ax = figure.axes[0]
    assert [(tick, label.get_text()) for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)] == [
        (5.5, "OFF"),
        (17.5, "ON"),
    ]
    assert ax.collections[0].get_offsets().tolist() == [[4, 12]]
    assert ax.lines[0].get_ydata()[0] == 11.5
    unnamed = raster([("input", torch.zeros(10, 40, 3, 3))], 10, "title", 10).axes[0].get_yticklabels()
    assert [label.get_text() for label in unnamed] == [f"channel {k}" for k in range(0, 40, 7)]


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["what=rasterz"], "rasterz"),
        (["sample=9999"], "sample=9999"),
        (["sample=x"], "sample=x"),
        (["format=gif"], "format=gif"),
    ],
)
def test_bad_input_is_one_sentence(argv, named, trained):
    with pytest.raises(UserError, match=named):
        plot.main([f"ckpt={trained}", *argv])


def test_without_rows_there_are_no_curves(view):
    from dataclasses import replace

    with pytest.raises(NothingToDraw, match="metrics"):
        portraits.curves(replace(view, rows=()))
