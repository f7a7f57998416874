"""Asking a trained network: the same answers as in its test, from files as from arrays."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import app
from app import export, predict
from app.data.tasks.nmnist import NMNIST
from app.errors import UserError
from app.training.predictor import Coding
from tests.support.run_tools import run

DIGITS = load_digits().images


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two short runs, one that is read by first spikes and one by counts."""
    folder = tmp_path_factory.mktemp("runs")
    run(f"out={folder}/first", "rule=antlr", "neuron.reset=potential", "optim.lr=1e-2")
    run(f"out={folder}/count", "rule=activation", "optim.lr=1e-2")
    return folder


@pytest.mark.parametrize("name", ["first", "count"])
def test_answers_are_those_of_the_test_split(runs, name):
    model = app.load(runs / name)
    samples = model.trained.data
    samples.setup("test")
    batch = samples.test_set.__getitems__(range(len(samples.test_set)))
    answers = model.predict(batch.events)
    module = model.trained.module
    with torch.no_grad():
        output = module(batch)
    module.test_metrics.update(output, batch.label_B, [0.0])
    wanted = {key: float(value) for key, value in module.test_metrics.compute().items()}
    fired = np.array([answer.label is not None for answer in answers])
    right = np.array([a.label == b for a, b in zip(answers, batch.label_B.tolist(), strict=True)])
    assert fired.mean() > 0.2
    zeros = (~fired & (batch.label_B == 0).numpy()).sum()  # what does not fire counts as class 0 there
    assert (right.sum() + zeros) / len(right) == pytest.approx(wanted[f"accuracy_{name}"])
    spikes = np.mean([answer.spikes for answer in answers])
    assert spikes == pytest.approx(wanted["decision_spikes" if name == "first" else "spikes_per_sample"])
    steps = [30 if a.time_to_decision_steps is None else a.time_to_decision_steps for a in answers]
    if name == "first":
        assert np.mean(steps) == pytest.approx(wanted["time_to_first_spike_steps"])
    else:
        assert set(steps) <= {29, 30}
    assert all(0.1 <= a.confidence <= 1 for a in answers if a.label is not None and name == "first")
    assert model.labels == list(range(10))


def test_the_confidence_is_the_softmax_of_first_spike_times(runs):
    model = app.load(runs / "first")
    output = model.run(model.coding.images(DIGITS[:1], 16))
    spikes_TN = torch.zeros_like(output.spikes_TBN)
    spikes_TN[4, 0, 3] = spikes_TN[6, 0, 5] = spikes_TN[20, 0, 3] = 1
    answer = model.answers(output._replace(spikes_TBN=spikes_TN))[0]
    z = np.array([30 - 4, 30 - 6] + [0] * 8, float)
    assert answer.label == 3
    assert answer.time_to_decision_steps == 4
    assert answer.confidence == pytest.approx(np.exp(z[0]) / np.exp(z).sum())
    silent = model.answers(output._replace(spikes_TBN=torch.zeros_like(spikes_TN)))[0]
    assert silent[:3] == (None, None, None)
    counting = app.load(runs / "count").answers(output._replace(spikes_TBN=spikes_TN))[0]
    assert counting[:3] == (3, pytest.approx(2 / 3), 29)


def test_files_of_all_kinds_get_the_answer_of_the_array(runs, tmp_path, capsys):
    model = app.load(runs / "first")
    grey = np.rint(DIGITS[:3] * 255 / 16).astype(np.uint8)
    wanted = model.predict(DIGITS[:3], 16)
    assert model.predict(grey) == model.predict(DIGITS[:3] / 16) == wanted
    folder = tmp_path / "samples"
    folder.mkdir()
    Image.fromarray(grey[0]).save(folder / "a.png")
    Image.fromarray(grey[1]).resize((32, 32), Image.Resampling.NEAREST).convert("RGB").save(folder / "b.png")
    np.savez(folder / "c.npz", images=DIGITS[2:3] / 16)
    spikes = model.coding.images(grey).to_dense().transpose(0, 1).numpy()
    np.savez(folder / "d.npz", spikes=spikes)
    assert predict.main([f"ckpt={runs}/first", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [str(folder / name) for name in ("a.png", "b.png", "c.npz", "d.npz[0]", "d.npz[1]", "d.npz[2]")]
    keys = ("file", "class", "confidence", "time_to_decision_steps", "spikes")
    assert found == [dict(zip(keys, (n, *a), strict=True)) for n, a in zip(names, wanted * 2, strict=True)]

    Image.fromarray(255 - grey[0]).save(tmp_path / "ink.png")
    raster = tmp_path / "raster.png"
    assert predict.main([f"ckpt={runs}/first", str(tmp_path / "ink.png"), "--invert", f"out={raster}"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == str(wanted[0].label)
    assert Image.open(raster).size[0] > 500


def test_images_of_16_bits_keep_their_levels(tmp_path):
    deep = np.rint(DIGITS[0] * 65535 / 16).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    levels = predict._image(tmp_path / "deep.png", (1, 8, 8), False) / 255 * 16
    assert np.array_equal(np.rint(levels), DIGITS[0])


def test_an_empty_image_is_no_fault(runs):
    assert len(app.load(runs / "first").predict(np.zeros((2, 8, 8)))) == 2


def test_recordings_are_binned_as_in_training(tmp_path):
    path = tmp_path / "one.bin"
    path.write_bytes(bytes([3, 2, 0x80, 0x03, 0xE8, 5, 4, 0x00, 0x0B, 0xB8]))
    events = Coding(NMNIST(), 300).recordings([path])
    assert events.steps_E.tolist() == [1, 3]
    assert events.neurons_E.tolist() == [34 * 34 + 2 * 34 + 3, 4 * 34 + 5]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.png", None, "no such file"),
        ("words.txt", b"x", "files that can be read end with"),
        ("bad.png", b"x", "no image that can be read"),
        ("bad.npz", b"x", "no .npz file that can be read"),
        ("one.bin", b"12345", "this task has no recordings"),
        ("other.npz", {"pictures": np.zeros((1, 8, 8))}, "either images"),
        ("small.npz", {"images": np.zeros((1, 5, 5))}, "images of 5x5 pixels do not fit the input of 8x8"),
        ("bright.npz", {"images": np.full((1, 8, 8), 16.0)}, "give full_intensity="),
        ("nan.npz", {"images": np.full((1, 8, 8), np.nan)}, "nan"),
        ("text.npz", {"images": np.array([["a"]])}, "give numbers"),
        ("short.npz", {"spikes": np.zeros((1, 5, 64))}, "30 steps, 64 inputs"),
        ("twos.npz", {"spikes": np.full((1, 30, 64), 2)}, "0 or 1"),
    ],
)
def test_bad_files_get_a_sentence_with_their_name(runs, tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        predict.main([f"ckpt={runs}/first", str(path)])
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_bad_arguments_get_a_sentence(runs, tmp_path):
    np.savez(tmp_path / "two.npz", images=np.zeros((2, 8, 8)))
    (tmp_path / "empty").mkdir()
    for argv, words in (
        ([], "name a checkpoint and a file"),
        ([str(tmp_path / "two.npz"), "full_intensity=-1"], "full_intensity=-1"),
        ([str(tmp_path / "two.npz"), f"out={tmp_path}/r.png"], "draws one sample, but there are 2"),
        ([str(tmp_path / "empty")], "the folder has no"),
    ):
        with pytest.raises(UserError, match=words):
            predict.main([f"ckpt={runs}/first", *argv])
    assert not (tmp_path / "r.png").exists()


def test_a_run_is_exported_and_read_back_with_the_same_spikes(runs, tmp_path, capsys):
    nir = pytest.importorskip("nir", reason="the package nir is not installed")
    out = tmp_path / "net.nir"
    assert export.main([f"ckpt={runs}/first", str(out)]) == 0
    assert "v_leak" in capsys.readouterr().out
    model = app.load(runs / "first")
    back = app.from_nir(nir.read(out), app.antlr())
    events = model.coding.images(DIGITS[:200], 16)
    assert torch.equal(back(events).spikes_TBN, model.run(events).spikes_TBN)
    with pytest.raises(UserError, match="NIR has no such neuron"):
        export.main([f"ckpt={runs}/count", str(tmp_path / "no.nir")])
    with pytest.raises(UserError, match="dt_s=fast"):
        export.main([f"ckpt={runs}/first", str(tmp_path / "no.nir"), "dt_s=fast"])
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]
    assert export.main([f"ckpt={runs}/count", str(out), "allow_other_reset=true"]) == 0
    assert "trained with reset=both" in capsys.readouterr().out


def test_without_the_package_the_export_says_what_to_install(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(UserError, match="pip install nir=="):
        export.main([f"ckpt={runs}/first", str(tmp_path / "net.nir")])
