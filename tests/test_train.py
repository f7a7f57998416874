"""The application as a user runs it: train, resume, evaluate; in one process, on the embedded digits."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train
from app import evaluate
from app.errors import run_command
from tests.support import ROOT

FAST = ["network=[64,fc20,fc10]", "time_steps=30", "trainer.enable_progress_bar=false", "tracking.mode=disabled"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*argv: str) -> Path:
    """Train, and return the run's folder."""
    out = next((a.removeprefix("out=") for a in argv if a.startswith("out=")), "runs/digits-antlr-latency-s0")
    given = {argument.split("=")[0] for argument in argv}
    assert train.main([*(a for a in FAST if a.split("=")[0] not in given), *argv]) == 0
    return Path(out)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], two[key]) for key in one)


def test_a_run_leaves_everything_behind(capsys):
    out = run("trainer.max_epochs=2", "probes.landscape_epochs=[0,2]", "probes.landscape_points=3")
    printed = capsys.readouterr().out
    for words in ("accuracy by first spike", "decision spikes", "layer 2", "writing to", "summary.json"):
        assert words in printed
    summary = json.loads((out / "summary.json").read_text())
    always = ("accuracy_first", "accuracy_count", "spikes_per_sample", "decision_spikes", "time_to_first_spike_steps")
    assert {f"test/{key}" for key in always} <= summary.keys()
    assert summary["best_epoch"] in (1, 2)
    assert summary["train_s"] > 0
    assert 0.2 < summary["test/accuracy_first"] <= 1
    assert f"{summary['test/accuracy_first']:.2%}" in printed
    for name in ("config.yaml", "raster.png", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "landscape/epoch0.png"):
        assert (out / name).stat().st_size > 100, name
    assert len((out / "landscape/epoch2.csv").read_text().splitlines()) == 4
    assert "| layer 2 | antlr |" in (out / "landscape/epoch2.md").read_text()
    validated = [row for row in rows(out) if row["val/accuracy_first"]]
    assert len(validated) == 2
    assert float(validated[1]["train/loss"]) < float(validated[0]["train/loss"])
    for key in ("layer1/spikes_per_sample", "layer1/silent_share", "class3/accuracy_first", "decision_spikes_p90"):
        assert validated[0][f"val/{key}"] != ""


def test_the_same_command_gives_the_same_numbers_and_another_seed_does_not():
    one, two, other = (run("trainer.max_epochs=1", f"out={name}", f"seed={name[1]}") for name in ("a3", "b3", "c4"))
    assert rows(one) == rows(two)
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(other))


def test_looking_at_the_landscape_does_not_change_the_run():
    short = ["trainer.max_epochs=2", "trainer.limit_train_batches=9", "probes.landscape_points=3"]
    plain = run(*short, "out=a3")
    seen = run(*short, "out=b3", "probes.landscape_epochs=[0,1]")
    assert (seen / "landscape/epoch1.png").exists()
    assert rows(plain) == rows(seen)
    assert same(weights(plain), weights(seen))


@pytest.mark.parametrize(
    "extra", [[], ["optim.name=sgd", "optim.momentum=0.5", "data.num_workers=1"]], ids=["adam", "sgd"]
)
def test_a_resumed_run_equals_the_uninterrupted_one(extra, capsys):
    extra = [*extra, "optim.schedule=constant"]  # a cosine over two epochs is another one than over three
    whole = run("out=whole", "trainer.max_epochs=3", *extra)
    run("out=part", "trainer.max_epochs=2", *extra)
    assert train.main(["ckpt=last", "out=part", "trainer.max_epochs=3"]) == 0
    assert "going on from part/checkpoints/last.ckpt at step 76" in capsys.readouterr().out
    assert same(weights(whole), weights(Path("part")))
    assert rows(whole) == rows(Path("part"))


def test_a_run_without_a_name_never_overwrites_another_and_last_finds_the_newest():
    first = run("trainer.max_epochs=1")
    run("trainer.max_epochs=1")
    second = Path(f"{first}-2")
    assert (first / "summary.json").exists()
    assert (second / "summary.json").exists()
    before = weights(first)
    assert train.main(["ckpt=last", "trainer.max_epochs=2"]) == 0
    assert same(before, weights(first))
    assert not same(before, weights(second))


def test_evaluate_repeats_the_test_of_the_run(capsys):
    out = run("trainer.max_epochs=1")
    summary = json.loads((out / "summary.json").read_text())
    assert evaluate.main([f"ckpt={out}", "out=again"]) == 0
    again = json.loads(Path("again/evaluation.json").read_text())
    assert again == {key: value for key, value in summary.items() if key.startswith("test/")}
    assert "accuracy by first spike" in capsys.readouterr().out
    assert evaluate.main([f"ckpt={out}", "out=decided", "--until-decision"]) == 0
    decided = json.loads(Path("decided/evaluation.json").read_text())
    assert {"test/accuracy_first", "test/decision_spikes", "test/decision_synaptic_operations"} <= set(decided)
    assert {"test/spikes_per_sample", "test/synaptic_operations", "test/accuracy_count"}.isdisjoint(decided)
    assert decided.items() <= again.items()
    printed = capsys.readouterr().out
    assert "decision spikes per sample" in printed
    assert "  spikes per sample" not in printed
    assert "  synaptic operations per sample" not in printed


@pytest.mark.parametrize(
    "argv",
    [
        ["rule=activation"],
        ["rule=activation", "learning.variant=rnn", "learning.surrogate=rectangular", "loss=spike_train"],
        ["rule=activation", "learning.variant=slayer", "objective.max_target_spikes=3"],
        ["rule=timing"],
        ["rule=timing", "loss=spike_train", "neuron.max_spikes_per_neuron=1"],
        ["rule=antlr", "loss=count", "optim.schedule=cosine", "neuron.beta_auto=false", "neuron.beta_v=0.05",
         "neuron.beta_bias=0.05"],
        ["network=[1x8x8,conv4c3,apool2,flatten,fc10]", "optim.grad_clip_algorithm=norm", "optim.grad_clip=1"],
        ["trainer.precision=64-true", "trainer.accumulate_grad_batches=2", "init_bias_center=1"],
        ["task=spike_trains", "network=[50,fc20,fc5]", "trainer.check_val_every_n_epoch=1"],
    ],
    ids=lambda argv: ",".join(argv)[:60],
)  # fmt: skip
def test_rules_losses_and_options_train(argv):
    out = run(*argv, "out=o", "trainer.max_epochs=1", "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["test/spikes_per_sample"] >= 0
    assert torch.isfinite(torch.tensor(summary["test/loss"]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["optim.warmup_epochs=0.5", "optim.schedule=constant"], [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        (
            ["optim.warmup_epochs=0.5", "optim.schedule=cosine", "trainer.max_steps=10"],
            [0, 0.25, 0.5, 0.75, *((1 + math.cos(math.pi * k / 6)) / 2 for k in range(6))],
        ),
        (["optim.schedule=cosine", "trainer.max_steps=10"], [(1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)]),
        (
            ["optim.warmup_epochs=1", "optim.schedule=cosine", "trainer.accumulate_grad_batches=2"],
            [0, 0.25, 0.5, 0.75, 1, 0.5 + 2**0.5 / 4, 0.5, 0.5 - 2**0.5 / 4],
        ),
    ],
)
def test_the_learning_rate_rises_before_it_follows_the_schedule(options, expected):
    argv = ["optim.lr=0.01", "trainer.limit_train_batches=8", "trainer.log_every_n_steps=1"]
    out = run("out=o", *argv, "trainer.max_epochs=2", *options)
    rates = [float(row["train/lr"]) / 0.01 for row in rows(out) if row["train/lr"]]
    assert rates[: len(expected)] == pytest.approx(expected)


def test_a_run_without_validation_keeps_its_last_state():
    out = run("trainer.max_epochs=1", "trainer.limit_val_batches=0", "trainer.limit_train_batches=3")
    assert json.loads((out / "summary.json").read_text())["best_epoch"] == 1


def exit_of(main, argv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", *argv])
    with pytest.raises(SystemExit) as leaving:
        run_command(main)
    return leaving.value.code, capsys.readouterr().err


def damaged(content: bytes) -> str:
    Path("damaged.ckpt").write_bytes(content)
    return "ckpt=damaged.ckpt"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["trainer.max_epoch=5"], "trainer.max_epochs"),
        (["trainer.max_epochs=five"], "trainer.max_epochs"),
        (["optim.lr=-1"], "optim.lr"),
        (["optim.lr=nan"], "optim.lr"),
        (["optim.name=lion"], "optim.name"),
        (["rule=timing", "loss=count"], "no timing gradient"),
        (["rule=antlr", "learning.variant=rnn"], "learning.variant"),
        (["task=spike_trains", "loss=latency"], "labels"),
        (["task=fashon"], "task"),
        (["config=nnmist_antlr"], "nmnist_antlr"),
        (["network=[64,fc200,dropout,fc10]"], "'dropout'"),
        (["network=[2x4x8,fc10]"], "flatten"),
        (["network=[63,fc10]"], "start it with 64"),
        (["network=[64,fc9]"], "fc10"),
        (["task=mnist", "data.root=nowhere/at/all", "data.val_samples=0"], "data.val_samples"),
        (["time_steps=10"], "time_steps"),
        (["data.val_samples=100000"], "data.val_samples"),
        (["ckpt=no/such.ckpt"], "no/such.ckpt"),
        (["ckpt=last"], "no checkpoint"),
        (["out=/proc/nope"], "out=/proc/nope"),
        (["engine=cuda"], "engine"),
        (["trainer.accelerator=quantum"], "trainer"),
        (["trainer.accelerator=tpu"], "trainer"),
        (["init_bias_center=1e300"], "init_bias_center"),
        (["trainer.devices=0"], "trainer"),
        (["foo"], "foo"),
        (["=3"], "=3"),
    ],
    ids=lambda value: ",".join(value)[:50] if isinstance(value, list) else None,
)
def test_bad_input_is_one_clear_sentence(argv, named, monkeypatch, capsys):
    code, message = exit_of(train.main, argv, monkeypatch, capsys)
    assert code == 2
    assert message.startswith("error: ")
    assert len(message.strip().splitlines()) == 1
    assert named in message
    assert not list(Path.cwd().iterdir())  # nothing is left behind


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken zip", b"\x80\x02}q\x00."], ids=repr)
def test_a_damaged_checkpoint_is_named_and_refused(content, monkeypatch, capsys):
    argument = damaged(content)
    for main in (train.main, evaluate.main):
        code, message = exit_of(main, [argument], monkeypatch, capsys)
        assert code == 2
        assert "damaged.ckpt" in message
    assert not Path("runs").exists()


def test_a_foreign_checkpoint_and_a_foreign_network_are_refused(monkeypatch, capsys):
    torch.save({"weight": torch.zeros(3)}, "foreign.ckpt")
    code, message = exit_of(train.main, ["ckpt=foreign.ckpt"], monkeypatch, capsys)
    assert (code, "not a checkpoint of this project" in message) == (2, True)
    out = run("trainer.max_epochs=1", "trainer.limit_train_batches=2")
    last = f"ckpt={out}/checkpoints/last.ckpt"
    code, message = exit_of(train.main, [last, "network=[64,fc30,fc10]"], monkeypatch, capsys)
    assert (code, "network=" in message) == (2, True)
    code, message = exit_of(evaluate.main, [last, "network=[64,fc30,fc10]"], monkeypatch, capsys)
    assert (code, "do not fit" in message) == (2, True)


def test_a_named_folder_that_holds_a_run_is_refused_and_kept(monkeypatch, capsys):
    out = run("out=mine", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    before = weights(out)
    code, message = exit_of(train.main, ["out=mine"], monkeypatch, capsys)
    assert code == 2
    assert "ckpt=last" in message
    assert same(before, weights(out))


def test_a_finite_gradient_whose_norm_overflows_is_clipped_to_the_norm(monkeypatch):
    from app.training.module import SpikingModule

    before = {}

    def grow(self):
        before.update({name: p.detach().clone() for name, p in self.network.named_parameters()})
        for p in self.network.parameters():
            p.grad.fill_(1e30)

    monkeypatch.setattr(SpikingModule, "on_after_backward", grow)
    clip = ["optim.name=sgd", "optim.lr=1", "optim.grad_clip=0.5", "optim.grad_clip_algorithm=norm"]
    out = run(*clip, "optim.schedule=constant", "optim.weight_decay=0", "trainer.max_steps=1")
    after = weights(out)
    moved = math.sqrt(sum(float((after[f"network.{name}"] - p).square().sum()) for name, p in before.items()))
    assert moved == pytest.approx(0.5, rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run_with_a_message(monkeypatch, capsys):
    argv = [*FAST, "rule=activation", "objective.max_target_spikes=30", "out=o", "trainer.precision=32-true"]
    from app.losses.count import Count

    call = Count.__call__
    calls = []

    def poisoned(self, *args):
        calls.append(1)
        return call(self, *args) * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(Count, "__call__", poisoned)
    code, message = exit_of(train.main, argv, monkeypatch, capsys)
    assert code == 1
    assert "the loss, at layer 2 (the output), is not finite in epoch 0, step 4; likely cause: " in message


@pytest.mark.parametrize("rule", ["antlr", "activation"])
def test_a_gradient_that_is_not_finite_stops_the_run_and_names_layer_and_cause(rule, monkeypatch, capsys):
    from app.training.module import SpikingModule

    def poison(self):
        if self.global_step == 3:
            for layer in self.network.spiking[:2]:
                layer.weight.grad[0, 0] = float("inf")

    monkeypatch.setattr(SpikingModule, "on_after_backward", poison)
    argv = [*FAST[1:], "out=o", f"rule={rule}", "network=[64,fc20,fc20,fc10]"]
    code, message = exit_of(train.main, argv, monkeypatch, capsys)
    assert code == 1
    assert "the gradient of layer 2's weight is not finite in epoch 0, step 3; likely cause: " in message
    assert ("its potential hardly rises" in message) == (rule == "antlr")


def poison_weight(module):
    module.network.spiking[1].bias.data[3] = float("nan")


def blow_up_weight(module):
    module.network.spiking[0].weight.data[0, 0] = 1e37


def poison_optimiser(module):
    next(iter(module.optimizers().optimizer.state.values()))["exp_avg_sq"][0] = float("inf")


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        (poison_weight, "the weights of layer 2 are not finite"),
        (blow_up_weight, "the membrane potential of layer 1 may not be finite"),
        (poison_optimiser, "the optimiser's state is not finite"),
    ],
)
@pytest.mark.parametrize("every", ["trainer.log_every_n_steps=1", "checkpoint_every_s=0"])
def test_a_state_that_is_not_finite_never_replaces_a_good_checkpoint(poison, what, every, monkeypatch, capsys):
    from app.training.module import SpikingModule

    def spoil(self):
        if self.global_step == 2:
            poison(self)

    monkeypatch.setattr(SpikingModule, "on_after_backward", spoil)
    settings = ["trainer.log_every_n_steps=1000", "checkpoint_every_s=1000", every]
    settings = {setting.split("=")[0]: setting for setting in settings}.values()  # the last one wins
    code, message = exit_of(train.main, [*FAST, *settings, "trainer.max_epochs=3", "out=o"], monkeypatch, capsys)
    assert code == 1
    assert f"{what} in epoch 0, step 3; likely cause: " in message
    for path in Path("o/checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        assert content["global_step"] < 3
        assert all(torch.isfinite(value).all() for value in content["state_dict"].values())


def test_help_and_print_config(capsys):
    assert train.main(["--help-all"]) == 0
    printed = capsys.readouterr().out
    for key in ("optim.lr", "data.root", "trainer.max_epochs", "tracking.mode", "neuron.max_spikes_per_neuron"):
        assert key in printed
    assert train.main(["config=mnist_antlr", "--print-config"]) == 0
    assert "init_bias_center: 1" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_the_script_itself():
    command = [sys.executable, str(ROOT / "train.py"), *FAST, "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy by first spike" in done.stdout
    bad = subprocess.run([*command, "optim.lrr=1"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: ")
    assert "optim.lr" in bad.stderr
