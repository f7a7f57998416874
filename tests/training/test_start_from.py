"""Fine-tuning: what a new run takes over from another one, what it says of it, and that it goes on exactly."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from app.config import load_config
from app.errors import UserError
from app.resume.checkpoint import BEST, CHECKPOINTS
from app.training.build import build_network
from app.training.start_from import start_from
from tests.support.run_tools import checkpoint, resume, run, state_of


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("source") / "run"
    run(f"out={out}", "rule=activation", "trainer.max_epochs=1", "init_bias_center=1")
    return out


def weights_of(out):
    return checkpoint(out, "best")["state_dict"]


def files_of(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_another_rule_loss_and_last_layer_start_from_a_runs_weights(source, tmp_path, capsys):
    before, out = files_of(source), tmp_path / "next"
    run(f"out={out}", f"init_from={source}", "rule=antlr", "network=[64,fc20,fc12]", "optim.lr=1e-12", "seed=3",
        "neuron.threshold=1.1")  # fmt: skip
    printed = capsys.readouterr().out
    assert (
        f"starting from {source}/checkpoints/best.ckpt (digits, activation rule, count loss, after 1 epochs)" in printed
    )
    assert "layer 1 taken over; layer 2 new: weights 10x20, biases 10 there, weights 12x20, biases 12 here" in printed
    assert "neuron.threshold 1.0 there, 1.1 here" in printed
    torch.testing.assert_close(
        weights_of(out)["network.layers.0.weight"], weights_of(source)["network.layers.0.weight"], rtol=0, atol=1e-9
    )
    summary = json.loads((out / "summary.json").read_text())
    about = summary["init_from"]
    assert (about["rule"], about["epochs"]) == ("activation", 1)
    assert about["layers"]["layer1"] == "taken over"
    assert about["layers"]["layer2"].startswith("new: ")
    assert about["sha256"] == before[source / CHECKPOINTS / BEST]
    assert files_of(source) == before


def test_layers_that_do_not_fit_start_as_without_init_from(source):
    arguments = ["network=[64,fc20,fc20,fc10]", "time_steps=30"]
    config, plain = load_config([*arguments, f"init_from={source}"]), load_config(arguments)
    network, other, stored = build_network(config), build_network(plain), weights_of(source)
    about = start_from(network, config)
    assert about["layers"]["layer1"] == "taken over"
    assert about["layers"]["layer2"] == "new: weights 10x20, biases 10 there, weights 20x20, biases 20 here"
    assert about["layers"]["layer3"] == "new: the other network has 2 layers"
    assert torch.equal(network.spiking[0].weight, stored["network.layers.0.weight"])
    assert torch.equal(network.spiking[0].bias, stored["network.layers.0.bias"])
    for k in (1, 2):
        assert torch.equal(network.spiking[k].weight, other.spiking[k].weight)


def test_layers_are_compared_by_number_whatever_stands_between_them(source, tmp_path):
    image = tmp_path / "image"
    run(f"out={image}", "network=[1x8x8,conv2c3,apool2,flatten,fc10]", "trainer.max_epochs=1",
        "trainer.limit_train_batches=1")  # fmt: skip
    config = load_config(["network=[1x8x8,conv2c3,mpool2,conv2c3,flatten,fc10]", f"init_from={image}"])
    assert list(start_from(build_network(config), config)["layers"].values()) == [
        "taken over",
        "new: weights 10x32, biases 10 there, weights 2x2x3x3, biases 2 here",
        "new: the other network has 2 layers",
    ]  # fmt: skip


def test_recurrent_weights_are_taken_over_with_their_layer(source, tmp_path):
    out = tmp_path / "recurrent"
    run(f"out={out}", "network=[64,rfc20,fc10]", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    config = load_config(["network=[64,rfc20,fc10]", f"init_from={out}"])
    network = build_network(config)
    assert set(start_from(network, config)["layers"].values()) == {"taken over"}
    stored = weights_of(out)["network.layers.0.recurrent_weight"]
    assert torch.equal(network.spiking[0].recurrent_weight, stored)
    config = load_config(["network=[64,rfc20,fc10]", f"init_from={source}"])
    assert start_from(build_network(config), config)["layers"] == {
        "layer1": "new: weights 20x64, biases 20 there, weights 20x64, recurrent weights 20x20, biases 20 here",
        "layer2": "taken over",
    }


def test_a_run_that_started_from_another_goes_on_as_if_it_had_not_stopped(source, tmp_path, monkeypatch):
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes((source / CHECKPOINTS / BEST).read_bytes())
    monkeypatch.chdir(tmp_path)
    run("out=whole", "init_from=copy.ckpt", "rule=timing")
    run("out=parts", "init_from=copy.ckpt", "rule=timing", "trainer.max_epochs=1")
    copy.unlink()  # it is not needed any more
    resume("parts", "trainer.max_epochs=2")
    assert state_of("parts") == state_of("whole")
    whole, parts = (json.loads(Path(out, "summary.json").read_text())["init_from"] for out in ("whole", "parts"))
    assert whole == parts
    with pytest.raises(UserError, match="init_from=other differs from the checkpoint"):
        resume("parts", "init_from=other")


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["init_from=nowhere"], "init_from=nowhere: there is no such checkpoint"),
        (["init_from=broken.ckpt"], "init_from=broken.ckpt: the file is damaged"),
        (
            ["init_from=SOURCE", "network=[64,fc21,fc10]"],
            "none of its layers fits .*weights 20x64, .* there, weights 21x64, .* here",
        ),
        (["init_from=SOURCE", "init=target_rate"], "init=uniform"),
    ],
)
def test_wrong_files_are_one_sentence_and_leave_nothing_behind(source, argv, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=named) as refusal:
        run("out=new", *(argument.replace("SOURCE", str(source)) for argument in argv))
    assert len(str(refusal.value).splitlines()) == 1
    assert not Path("new").exists()
