"""There is an example for each task, and each one runs: on data that it makes, or on small ones like the real."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from app.data.tasks import TASKS
from app.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "examples"
FAST = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.enable_progress_bar=false"]
FAST += ["tracking.mode=disabled", "probes.raster=false", "data.cache=cache"]
OF_TONIC = ("tonic", "shd", "ssc", "dvs_gesture")


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder with further arguments; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))

    def run(name: str, *argv: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *argv])
        runpy.run_module(f"examples.{name}", run_name="__main__")
        return capsys.readouterr().out

    return run


def test_each_task_has_an_example():
    text = "\n".join(path.read_text() for path in EXAMPLES.glob("*.py") if not path.name.startswith("my_"))
    named = set(re.findall(r"task=(\w+)", text)) | {path.stem for path in EXAMPLES.glob("*.py")}
    assert {name for name in TASKS if not name.startswith("my_")} <= named


@pytest.mark.parametrize("name", ["arrays", "images", "events"])
def test_examples_make_their_own_data_and_train(example, name):
    assert "accuracy by first spike" in example(name, *FAST)


def test_two_rules_are_compared_on_the_digits(example):
    printed = example("digits", *FAST)
    assert re.findall(r"^(\w+): [\d.]+% right, \d+ spikes until the decision$", printed, re.MULTILINE) == [
        "antlr",
        "timing",
    ]


def test_memory_is_compared_with_none_on_the_order_of_bursts(example):
    printed = example("temporal_order", *FAST)
    assert re.findall(r"^([\w-]+): [\d.]+% right", printed, re.MULTILINE) == ["recurrent", "feed-forward"]


def test_the_answers_to_the_plane_are_drawn(example):
    assert "yinyang.png: " in example("yinyang", *FAST)
    assert Path("yinyang.png").read_bytes().startswith(b"\x89PNG")


def test_spike_trains_come_nearer_to_their_targets_in_a_loop_of_one_s_own(example):
    def losses(steps):
        return [float(x) for x in re.findall(r"loss ([\d.]+),", example("spike_trains", str(steps)))]

    before, after = losses(1), losses(40)
    assert len(before) == 3
    assert sum(after) < sum(before)


def test_an_image_of_mnist_is_asked_for(example, make_mnist):
    root = make_mnist(60, 20)
    assert re.search(
        r"^label 0: Prediction\(", example("mnist", f"data.root={root}", *FAST, "data.val_samples=20"), re.M
    )


def test_clothes_pass_a_convolution(example, make_mnist):
    root = make_mnist(60, 20, "FashionMNIST/raw")
    small = ["data.val_samples=20", "data.batch_size=4", "data.eval_batch_size=20"]
    assert "accuracy by first spike" in example("fashion", f"data.root={root}", *FAST, *small)


def test_a_recording_is_asked_for(example, make_nmnist):
    assert re.search(r"Test/\d/\d+\.bin: Prediction\(", example("nmnist", f"data.root={make_nmnist()}", *FAST))


@pytest.mark.parametrize("task", OF_TONIC[:2])
def test_data_sets_of_tonic_ask_for_their_files(example, task, monkeypatch):
    """Without the files: what is missing is said; tests/data/test_own_files.py reads such files."""
    import tonic

    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(tonic.datasets.SHD, "__init__", refuse)
    monkeypatch.setattr(tonic.datasets.POKERDVS, "__init__", refuse)
    more = ["data.name=POKERDVS"] if task == "tonic" else []
    with pytest.raises(UserError, match=r"put tonic's files into|set data\.root"):
        example("event_data_sets", f"task={task}", *more, *FAST)
