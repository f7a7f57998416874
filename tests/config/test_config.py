"""The configuration: layers, defaults by task and rule, refusals, suggestions, help, and arbitrary arguments."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from app.config import (
    CONFIGS,
    components,
    from_dict,
    help_text,
    info_text,
    load_config,
    short_help,
    to_dict,
    to_yaml,
)
from app.config.components import SLOTS
from app.config.read import flatten
from app.config.schema import config_type, keys, sections, value_of
from app.errors import UserError
from app.losses import Loss
from app.rules import RULES
from app.settings import setting

FILES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def refusal(*argv: str, configs: Path = CONFIGS) -> str:
    """The one sentence with which the arguments are refused."""
    with pytest.raises(UserError) as caught:
        load_config(list(argv), configs)
    return str(caught.value)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


# Files in configs/


@pytest.mark.parametrize("name", FILES)
def test_every_file_loads_and_comes_back_equal(name: str, tmp_path: Path) -> None:
    config = load_config([f"config={name}"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config([f"config={path}"]) == config
    assert from_dict(to_dict(config)) == config
    assert name.startswith(f"{config.task}_")
    assert Path(config.out or "").name.startswith(f"{config.task}-")


@pytest.mark.parametrize("name", FILES)
def test_every_file_holds_only_differences_and_says_what_it_is(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    assert path.read_text(encoding="utf-8").startswith("# ")
    values = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(values, dict)
    below = load_config([f"config={values.pop('_base_')}"]) if "_base_" in values else config_type()()
    config = load_config([f"config={name}"])
    for key, _ in flatten(values):
        assert key in ("task", "rule") or value_of(config, key) != value_of(below, key), key


def test_every_task_and_rule_has_a_file() -> None:
    rules = ("activation", "timing", "antlr")
    assert {f"{task}_{rule}" for task in ("digits", "mnist", "nmnist", "spike_trains") for rule in rules} <= set(FILES)


def test_no_two_files_share_a_run_folder() -> None:
    outs = [load_config([f"config={name}"]).out for name in FILES]
    assert len(set(outs)) == len(outs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist_activation", {"loss": "count", "init_bias_center": 0, "optim.lr": 1e-3, "optim.grad_clip": 1e6}),
        ("mnist_timing", {"loss": "latency", "init_bias_center": 1, "optim.lr": 1e-4, "trainer.max_epochs": 10}),
        ("mnist_antlr", {"loss": "latency", "init_bias_center": 1, "optim.lr": 1e-3, "objective.beta_softmax": 1}),
        ("nmnist_activation", {"objective.max_target_spikes": 10, "optim.grad_clip": 10, "trainer.max_epochs": 5}),
        ("nmnist_timing", {"objective.beta_softmax": 1 / 3, "optim.grad_clip": 1, "optim.lr": 1e-4}),
        ("nmnist_timing_single_spike", {"objective.beta_softmax": 1 / 6, "optim.grad_clip": 1, "optim.lr": 1e-4}),
        ("nmnist_antlr", {"objective.beta_softmax": 1 / 6, "optim.grad_clip": 1, "time_steps": 300}),
        ("nmnist_activation_single_spike", {"objective.max_target_spikes": 1, "data.first_event_only": True}),
        ("nmnist_antlr_single_spike", {"neuron.max_spikes_per_neuron": 1, "data.first_event_only": True}),
        ("nmnist_antlr_60_10", {"loss": "count", "readout": "count", "objective.min_target_spikes": 10}),
        ("nmnist_antlr_10_0", {"loss": "count", "objective.max_target_spikes": 10, "optim.grad_clip": 1}),
        ("nmnist_slayer_60_10", {"learning.variant": "slayer", "objective.max_target_spikes": 60}),
        ("nmnist_stbp_300_0", {"learning.surrogate": "rectangular", "objective.max_target_spikes": 300}),
        ("spike_trains_timing", {"loss": "spike_train", "neuron.alpha_v": 0.95, "optim.grad_clip": 1e5}),
        ("spike_trains_antlr", {"learning.ste_alpha": 0.3, "learning.ste_beta": 1, "optim.name": "sgd"}),
    ],
)
def test_files_hold_the_values_of_the_tables(name: str, expected: dict[str, object]) -> None:
    config = load_config([f"config={name}"])
    assert {key: value_of(config, key) for key in expected} == expected


# Layers


def test_no_arguments_train_antlr_on_the_digits() -> None:
    config = load_config([])
    assert (config.task, config.rule, config.loss, config.readout) == ("digits", "antlr", "latency", "first")
    assert (config.config, config.time_steps, config.network) == ("digits_antlr", 100, ["64", "fc200", "fc10"])
    assert config.out == "runs/digits-antlr-latency-s0"
    assert (config.tracking.group, config.tracking.name) == ("digits", "digits-antlr-latency-s0")


def test_task_and_rule_of_the_command_line_choose_the_file() -> None:
    assert load_config(["task=mnist", "rule=timing"]).config == "mnist_timing"
    assert load_config(["rule=timing"]).config == "digits_timing"


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    config = load_config(["task=nmnist"], tmp_path)
    assert config.config is None
    assert config.network == ["2x34x34", "flatten", "fc800", "fc10"]
    assert info_text(["--print-config"], tmp_path).startswith("# no file, defaults in code;")  # type: ignore[union-attr]


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    write(tmp_path, a="optim:\n  lr: 0.5\n  momentum: 0.5\n  name: sgd\n")
    config = load_config(["config=a", "optim.lr=0.25"], tmp_path)
    assert (config.optim.lr, config.optim.momentum, config.optim.weight_decay) == (0.25, 0.5, 0.0)


def test_rule_and_task_override_a_named_file() -> None:
    config = load_config(["config=mnist_timing", "rule=activation", "task=digits"])
    assert (config.task, config.rule, config.loss, config.optim.lr) == ("digits", "activation", "count", 1e-4)


def test_a_file_builds_on_others(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path, a="_base_: base/b.yaml\nseed: 3\n")
    write(tmp_path / "base", b="_base_: c\nseed: 2\ntime_steps: 50\n", c="seed: 1\ntime_steps: 60\noptim: {lr: 0.5}\n")
    config = load_config(["config=a"], tmp_path)
    assert (config.seed, config.time_steps, config.optim.lr) == (3, 50, 0.5)
    text = info_text(["config=a", "--print-config"], tmp_path) or ""
    assert re.match(r"# \S*a\.yaml, based on \S*b\.yaml, based on \S*c\.yaml; then the command line\n", text)


def test_a_file_must_not_build_on_itself(tmp_path: Path) -> None:
    write(tmp_path, a="_base_: b\n", b="_base_: a\n", c="_base_: c\n")
    assert "builds on itself" in refusal("config=a", configs=tmp_path)
    assert "builds on itself" in refusal("config=c", configs=tmp_path)


def test_references_see_the_values_that_were_filled_in() -> None:
    config = load_config(["out=x/${task}-${loss}-T${time_steps}", "tracking.notes=seed ${seed}", "seed=7"])
    assert (config.out, config.tracking.notes) == ("x/digits-latency-T100", "seed 7")


@pytest.mark.parametrize(
    ("argv", "loss", "readout"),
    [
        (["rule=activation"], "count", "count"),
        (["rule=timing"], "latency", "first"),
        (["loss=count"], "count", "count"),
        (["loss=count", "readout=first"], "count", "first"),
        (["task=spike_trains", "rule=activation"], "spike_train", "first"),
    ],
)
def test_loss_and_readout_follow_from_rule_and_task(argv: list[str], loss: str, readout: str) -> None:
    config = load_config(argv)
    assert (config.loss, config.readout) == (loss, readout)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("optim.lr=1e-4", 1e-4),
        ("--optim.lr=2", 2.0),
        ("optim.grad_clip=null", None),
        ("network=[64,fc100,fc10]", ["64", "fc100", "fc10"]),
        ("network=[2x34x34,flatten,fc10]", ["2x34x34", "flatten", "fc10"]),
        ("network=null", ["64", "fc200", "fc10"]),
        ("tracking.name=1e3", "1e3"),
        ("tracking.name=on", "on"),
        ("tracking.notes=a: [b", "a: [b"),
        ("tracking.tags=[1e3,on]", ["1e3", "on"]),
        ("trainer.devices=auto", "auto"),
        ("trainer.devices=2", 2),
        ("trainer.limit_train_batches=1", 1),
        ("trainer.limit_train_batches=0.5", 0.5),
        ("trainer.deterministic=warn", "warn"),
        ("trainer.deterministic=false", False),
        ("trainer.precision=64-true", "64-true"),
        ("probes.landscape_epochs=[0,5]", [0, 5]),
        ("ckpt=last", "last"),
        ("out=läuft/ü=1", "läuft/ü=1"),
    ],
)
def test_values_mean_what_they_look_like(argument: str, value: object) -> None:
    found = value_of(load_config([argument]), argument.removeprefix("--").partition("=")[0])
    assert found == value
    assert type(found) is type(value)


def test_a_group_can_be_given_as_a_mapping() -> None:
    config = load_config(["optim={name: sgd, lr: 0.5}"])
    assert (config.optim.name, config.optim.lr) == ("sgd", 0.5)


# Written and read again


SECRET = "never-to-be-stored"
OUTSIDE = [
    "${oc.env:API_KEY}",
    "a ${ oc.env : API_KEY } b",
    "${oc.decode:'1'}",
    "${${engine}:API_KEY}",
    "${oc.env:${data.root}}",
    "${mine:1}",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_nothing_from_outside_the_settings_gets_into_them(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would land in config.yaml, in the checkpoints and in W&B."""
    monkeypatch.setenv("API_KEY", SECRET)
    (tmp_path / "own.yaml").write_text(f'tracking:\n  notes: "{text}"\n')
    stored = to_dict(load_config([]))
    stored["tracking"]["notes"] = text
    tags = to_dict(load_config([]))
    tags["tracking"]["tags"] = ["a", text]
    calls = [
        lambda: load_config(["config=own"], tmp_path),
        lambda: load_config([f"tracking.notes={text}"]),
        lambda: load_config([f"tracking.tags=['{text}']"]),
        lambda: from_dict(stored),
        lambda: from_dict(tags),
    ]
    for call in calls:
        with pytest.raises(UserError, match=r"tracking\.(notes|tags)") as refused:
            call()
        assert SECRET not in str(refused.value)


def test_a_checkpoint_holds_no_references_at_all() -> None:
    stored = to_dict(load_config([]))
    stored["tracking"]["notes"] = "seed ${seed}"
    with pytest.raises(UserError, match=r"the checkpoint: tracking\.notes holds a reference"):
        from_dict(stored)
    assert load_config(["tracking.notes=at 12:30, seed ${seed}: good"]).tracking.notes == "at 12:30, seed 0: good"


def test_a_checkpoint_can_be_changed_by_arguments() -> None:
    stored = to_dict(load_config(["config=nmnist_antlr", "seed=4"]))
    config = from_dict(stored, ["data.eval_batch_size=8", "--ckpt=last"])
    assert (config.seed, config.data.eval_batch_size, config.ckpt, config.config) == (4, 8, "last", "nmnist_antlr")
    with pytest.raises(UserError, match="config="):
        from_dict(stored, ["config=mnist_antlr"])
    with pytest.raises(UserError, match=r"the checkpoint: unknown key 'optim\.rate'"):
        from_dict({"optim": {"rate": 1}})


def test_printed_settings_are_a_file_that_gives_them_again(tmp_path: Path) -> None:
    argv = ["task=mnist", "optim.lr=3e-5", "network=[784,fc5,fc10]", "tracking.tags=[1e-4,on]", "tracking.notes=0123"]
    text = info_text([*argv[:2], "--print-config", *argv[2:]])
    assert text is not None
    assert text.startswith("# configs/mnist_antlr.yaml") or "mnist_antlr.yaml; then" in text
    write(tmp_path, printed=text)
    assert load_config(["config=printed"], tmp_path) == load_config(argv)


@given(st.text(max_size=20))
@example("'1e3'")
@example("a: b # c")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_that_is_accepted_survives_a_file(tmp_path: Path, text: str) -> None:
    try:
        config = load_config([f"tracking.notes={text}", "trainer.limit_val_batches=1.0"])
    except UserError:
        return
    write(tmp_path, saved=to_yaml(config))
    assert load_config(["config=saved"], tmp_path) == config


# Refusals


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("rule=timing loss=count", "the count loss has no timing gradient; use loss=latency or loss=spike_train"),
        ("task=spike_trains loss=count", "loss=count needs labels"),
        ("task=spike_trains loss=latency", "loss=latency needs labels"),
        ("learning.variant=rnn", "learning.variant is a setting of rule=activation; leave it out with rule=antlr"),
        ("rule=timing learning.variant=slayer", "leave it out with rule=timing"),
        ("learning.lambda_act=0 learning.lambda_tim=0", "no gradient; use learning.lambda_act=1"),
        ("learning.lambda_act=0 loss=count", "learns nothing: the count loss has no timing gradient; use loss=latency"),
        ("neuron.beta_v=1", "no effect with neuron.beta_auto=true; use neuron.beta_auto=false"),
        ("neuron.beta_bias=1", "no effect with neuron.beta_auto=true"),
        ("neuron.beta_i=2", "no effect with neuron.beta_auto=true"),
        ("neuron.beta_auto=false", "neuron.beta_v is needed"),
        ("neuron.beta_auto=false neuron.beta_v=1", "neuron.beta_bias is needed"),
        ("network=[]", "network is empty"),
        ("loss=count objective.min_target_spikes=2", "raise objective.max_target_spikes"),
        ("loss=count objective.max_target_spikes=101", "more than one spike per step"),
        ("config=nmnist_activation neuron.max_spikes_per_neuron=1", "out of reach"),
        ("optim.momentum=0.9", "is for optim.name=sgd"),
        ("optim.schedule=cosine trainer.max_epochs=-1", "needs a number of epochs"),
        ("data.latency_max_steps=100", "past the last of time_steps=100"),
        ("time_steps=24", "raise time_steps"),
        ("optim.warmup_epochs=10 trainer.max_epochs=10", "leaves no epoch at the full learning rate"),
        ("optim.warmup_epochs=-1", "optim.warmup_epochs=-1.0 is out of range"),
        ("objective.label_smoothing=1", "objective.label_smoothing=1.0 is out of range"),
        ("init=target_rate init_bias_center=1", "has no effect with init=target_rate"),
        ("init_target_share=1", "init_target_share=1.0 is out of range"),
        ("data.folds=5", "data.folds is a setting of task=nmnist; leave it out with task=digits"),
        ("task=nmnist data.fold=1", "needs the number of folds; add data.folds=5"),
        ("task=nmnist data.folds=5 data.fold=5", "data.fold=5 does not exist"),
        ("learning.min_slope=0", "learning.min_slope=0.0 is out of range: it must be greater than 0"),
        ("data.event_dropout=1", "data.event_dropout=1.0 is out of range: it must be at least 0 and less than 1"),
        ("data.time_jitter_steps=100", "longer than the window of time_steps=100"),
        ("data.max_shift_pixels=8", "moves the 8x8 images of task=digits out of sight"),
        ("task=spike_trains data.max_shift_pixels=1", "needs images, which task=spike_trains does not have"),
        ("data.latency_min_steps=25", "larger than data.latency_max_steps=24"),
        ("trainer.devices=0", "use trainer.devices=1"),
        ("trainer.deterministic=maybe", "not one of true, false, warn"),
        ("trainer.limit_train_batches=1.5", "between 0 and 1"),
        ("trainer.limit_val_batches=-1", "at least 0"),
        ("trainer.val_check_interval=0.0", "between 0 and 1"),
        ("tracking.project=a/b", "tracking.project='a/b' must not hold"),
        (f"tracking.tags=[{'x' * 65}]", "longer than 64"),
        ("neuron.alpha_v=1.01", "neuron.alpha_v=1.01 is out of range: it must be at least 0 and at most 1"),
        ("neuron.alpha_i=-0.1", "neuron.alpha_i=-0.1 is out of range"),
        ("neuron.threshold=0", "greater than 0"),
        ("time_steps=0", "time_steps=0 is out of range"),
        ("data.batch_size=0", "data.batch_size=0 is out of range: it must be at least 1"),
        ("optim.lr=0", "optim.lr=0.0 is out of range: it must be greater than 0"),
        ("optim.lr=nan", "optim.lr=nan is not finite"),
        ("init_bias_center=inf", "init_bias_center=inf is not finite"),
        ("trainer.max_epochs=-2", "at least -1"),
        ("probes.landscape_epochs=[1,-1]", "probes.landscape_epochs=-1 is out of range"),
        ("seed=4294967296", "seed is too large"),
        ("seed=-1", "seed=-1 is out of range"),
        ("optim.lr=abc", "the command line: optim.lr expects number, got 'abc'"),
        ("trainer.max_epochs=five", "the command line: trainer.max_epochs expects integer, got 'five'"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs expects integer, got 1.5"),
        ("optim.name=lion", "optim.name expects one of adam, sgd, adamw, got 'lion'"),
        ("task=[1,2]", "task expects one of arrays, digits, events, mnist, fashion,"),
        ("neuron.beta_auto=2", "neuron.beta_auto expects true or false, got 2"),
        ("network=64,fc10", "write network=[64,fc10]"),
        ("network=[[1]]", "network expects list of text or null"),
        ("probes.landscape_epochs=3", "write probes.landscape_epochs=[3]"),
        ("optim=3", "optim is a group of keys (optim.name,"),
        ("optim.lr={}", "optim.lr expects number, got {}"),
        ("optim.lr=${oops}", "optim.lr refers to something that cannot be used: Interpolation key 'oops' not found"),
        ("task=${oops}", "task refers to something"),
        ("seed=${seed}", "seed refers to something"),
        ("out=${", "malformed reference"),
        ("out=\\${x}", "still holds '${'"),
        ("out=???", "out expects text or null, got '???'"),
        ("data.root=", "'data.root' has an empty value: write data.root=VALUE"),
        ("optim.grad_clip=", "write optim.grad_clip=VALUE or optim.grad_clip=null"),
        ("foo", "expected key=value, got 'foo'"),
        ("--optim.lr", "did you mean '--optim.lr=VALUE'?"),
        ("--print_config", "did you mean '--print-config'?"),
        ("=3", "expected key=value, got '=3'"),
        ("a..b=1", "unknown key 'a..b'"),
        ("seed=1 --seed=2", "seed is given twice"),
        ("out=\x07", "control character"),
        ("out=\udcff", "control character"),
        ("config=mnist_antl", "neither in"),
        ("callbacks=[rastre]", "callbacks=rastre is unknown; known are layer_health, raster, pictures, landscape"),
    ],
)
def test_refused_with_a_remedy(argv: str, message: str) -> None:
    found = refusal(*argv.split(" "))
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("trainer.max_epoch", "'trainer.max_epochs'"),
        ("lr", "'optim.lr'"),
        ("batch_size", "'data.batch_size'"),
        ("model.threshold", "'neuron.threshold'"),
        ("epochs", "'trainer.max_epochs'"),
        ("optm.lr", "'optim.lr'"),
        ("trainr", "'trainer'"),
        ("name", "'optim.name' or 'data.name' or 'tracking.name'"),
        ("taks", "'task'"),
    ],
)
def test_the_nearest_key_is_suggested(key: str, near: str) -> None:
    assert refusal(f"{key}=1") == f"the command line: unknown key {key!r}, did you mean {near}?"


def test_an_unknown_key_of_a_known_group_lists_the_group() -> None:
    assert "optim has optim.name, optim.lr" in refusal("optim.qqqq=1")
    assert refusal("qqqq=1") == "the command line: unknown key 'qqqq'; --help-all lists all keys"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim:\n  rate: 1\n", "bad.yaml: unknown key 'optim.rate'"),
        ("trainr:\n  max_epochs: 1\n", "bad.yaml: unknown key 'trainr', did you mean 'trainer'?"),
        ("1: 2\n", "bad.yaml: unknown key '1'"),
        ("seed: x\n", "bad.yaml: seed expects integer, got 'x'"),
        ("optim:\n", "bad.yaml: optim is a group of keys"),
        ("seed: 1\noptim: [\n", "bad.yaml is not valid YAML in line 3"),
        ("seed: 1\nseed: 2\n", "bad.yaml is not valid YAML in line 2: found duplicate key seed"),
        ("out: ${\n", "bad.yaml is not valid YAML"),
        ("- 1\n", "bad.yaml does not hold settings"),
        ("42\n", "bad.yaml does not hold settings"),
        ("'-1'\n", "bad.yaml does not hold settings"),
        ("null: 3\n", "bad.yaml is not valid YAML"),
        ("config: mnist\n", "write '_base_: other'"),
        ("_base_: [a]\n", "_base_ takes the name of one file"),
        ("_base_: goodd\n", "did you mean 'good'? available: bad, good"),
        ("[" * 5000, "bad.yaml is not valid YAML"),
        ("out: ''\n", "out holds empty text: give a value or null"),
        ('out: "\\a"\n', "control character"),
        ("data: {root: ' '}\n", "data.root holds empty text"),
        ("tracking: {name: !!binary aGVsbG8=}\n", "tracking.name expects text"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, bad=text, good="seed: 1\n")
    assert message in refusal("config=bad", configs=tmp_path)


def test_files_that_are_not_there_or_not_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, good="seed: 1\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.yaml").mkdir()
    assert "did you mean 'good'? available: binary, folder, good" in refusal("config=goood", configs=tmp_path)
    assert "is a folder" in refusal("config=folder", configs=tmp_path)
    assert "is a folder" in refusal(f"config={tmp_path}", configs=tmp_path)
    assert "not text in UTF-8" in refusal("config=binary", configs=tmp_path)
    assert "neither in" in refusal(f"config={'a' * 5000}", configs=tmp_path)
    assert load_config([f"config={tmp_path / 'good.yaml'}"]).seed == 1
    assert load_config(["config=good.yaml"], tmp_path).seed == 1

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    assert "good.yaml cannot be read: Permission denied" in refusal("config=good", configs=tmp_path)


# Components and their settings


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "rule=timing learning.ste_alpha=0.5",
            "or rule=antlr or rule=tssl_bp; leave it out with rule=timing",
        ),
        (
            "rule=timing learning.surrogate=rectangular",
            "learning.surrogate is a setting of rule=activation or rule=antlr or rule=tssl_bp",
        ),
        (
            "learning.surrogate=rectangular learning.ste_beta=1",
            "learning.ste_beta is a setting of learning.surrogate=exponential; "
            "leave it out with learning.surrogate=rectangular",
        ),
        (
            "loss=count objective.beta_softmax=2",
            "objective.beta_softmax is a setting of loss=latency; leave it out with",
        ),
        (
            "objective.max_target_spikes=2",
            "is a setting of loss=count or loss=spike_train; leave it out with loss=latency",
        ),
        ("data.input_rate=0.1", "data.input_rate is a setting of task=spike_trains; leave it out with task=digits"),
        ("task=spike_trains data.val_samples=5", "leave it out with task=spike_trains"),
    ],
)
def test_a_setting_of_what_was_not_chosen_is_refused(argv: str, message: str) -> None:
    found = refusal(*argv.split(" "))
    assert found.startswith("the command line: ")
    assert message in found


def test_the_named_file_is_read_as_strictly_and_what_it_builds_on_is_not(tmp_path: Path) -> None:
    write(tmp_path, base="learning:\n  ste_alpha: 0.5\n", own="_base_: base\nrule: timing\nlearning:\n  ste_beta: 2\n")
    assert "own.yaml: learning.ste_beta is a setting of rule=activation" in refusal("config=own", configs=tmp_path)
    write(tmp_path, own="_base_: base\nrule: timing\n")
    assert load_config(["config=own"], tmp_path).learning.ste_alpha == 0.5
    assert load_config(["config=base", "rule=timing"], tmp_path).rule == "timing", "the command line changes the choice"


def test_the_record_of_a_run_may_hold_settings_of_what_was_not_chosen(tmp_path: Path) -> None:
    """An earlier version wrote every key; former names and missing keys are understood."""
    values = to_dict(load_config(["config=spike_trains_timing"]))
    assert values["learning"]["ste_alpha"] == 0.3
    values["engine"], values["plugins"] = "numba", []
    del values["config"], values["callbacks"], values["neuron"]["reset"]
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")
    config = load_config([f"config={path}"])
    assert (config.rule, config.engine, config.neuron.reset) == ("timing", "event_driven", "both")
    assert from_dict(values) == config
    with pytest.raises(UserError, match=r"the command line: learning\.ste_alpha is a setting of rule=activation"):
        from_dict(values, ["learning.ste_alpha=0.4"])


@pytest.mark.parametrize(
    ("former", "present"), [("reference", "layerwise"), ("numba", "event_driven"), ("auto", "auto")]
)
def test_engines_are_known_by_their_former_names(former: str, present: str) -> None:
    assert load_config([f"engine={former}"]).engine == present


@pytest.fixture
def registered() -> Iterator[None]:
    """A loss with settings of its own, for one test."""
    losses = SLOTS["loss"].registry

    @losses.register("mine")
    @dataclass(frozen=True)
    class Mine(Loss):
        label_smoothing: float = setting(0.25, "shared with the latency loss, but for the default", ge=0, lt=1)
        depth: int = setting(3, "its own", ge=1)

        def problems(self, config: Any) -> Iterator[str]:
            if self.depth > config.time_steps:
                yield f"objective.depth={self.depth} is too deep for time_steps={config.time_steps}"

    yield
    losses.remove("mine")


@pytest.mark.usefixtures("registered")
def test_a_registered_loss_brings_its_settings_and_their_checks() -> None:
    config = load_config(["loss=mine", "objective.depth=5"])
    assert (config.component("loss").depth, config.component("loss").label_smoothing) == (5, 0.25)
    assert load_config(["loss=mine", "objective.label_smoothing=0.5"]).component("loss").label_smoothing == 0.5
    assert load_config([]).component("loss").label_smoothing == 0.0
    assert keys()["objective.label_smoothing"].default is None, "its owners have defaults of their own"
    assert "objective.depth expects integer, got 'x'" in refusal("loss=mine", "objective.depth=x")
    assert "objective.depth=0 is out of range" in refusal("loss=mine", "objective.depth=0")
    assert "too deep for time_steps=100" in refusal("loss=mine", "objective.depth=101")
    assert "objective.depth is a setting of loss=mine; leave it out with loss=latency" in refusal("objective.depth=2")
    assert "  with loss=mine\n" in help_text()
    assert load_config(["loss=mine"]).readout == "first"


@pytest.mark.usefixtures("registered")
def test_the_same_key_must_mean_the_same() -> None:
    @SLOTS["loss"].registry.register("other")
    @dataclass(frozen=True)
    class Other(Loss):
        depth: float = setting(1.0, "another type", ge=1)

    try:
        message = refusal()
    finally:
        SLOTS["loss"].registry.remove("other")
    assert message == (
        "loss=other: its setting objective.depth is number >= 1, but that of loss=mine is integer >= 1; "
        "give it another key="
    )
    assert load_config([]).loss == "latency"


# Plugins

PLUGIN = """
from dataclasses import dataclass
from app.losses import LOSSES, Loss
from app.settings import setting

@LOSSES.register("{name}")
@dataclass(frozen=True)
class Plugged(Loss):
    {name}_depth: int = setting(3, "its own", ge=1)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that registers loss=plugged, forgotten after the test."""
    monkeypatch.setattr(components, "_loaded", {})
    path = tmp_path / "plugged.py"
    path.write_text(PLUGIN.format(name="plugged"))
    yield path
    with contextlib.suppress(KeyError):
        SLOTS["loss"].registry.remove("plugged")


def test_a_plugin_brings_a_loss_whose_settings_are_typed(plugin: Path) -> None:
    config = load_config(["loss=plugged", "objective.plugged_depth=4", f"plugins=[{plugin}]"])
    assert (config.loss, config.component("loss").plugged_depth, config.plugins) == ("plugged", 4, [str(plugin)])
    assert load_config(["loss=plugged", f"plugins=[{plugin}]"]).objective.plugged_depth == 3, "imported once"
    assert "objective.plugged_depth" in (info_text([f"plugins=[{plugin}]", "--help-all"]) or "")


def test_a_file_may_name_plugins(plugin: Path, tmp_path: Path) -> None:
    write(tmp_path, own=f"plugins: [{plugin}]\nloss: plugged\nobjective:\n  plugged_depth: 7\n")
    assert load_config(["config=own"], tmp_path).component("loss").plugged_depth == 7


def test_a_checkpoint_and_a_record_never_run_plugins_by_themselves(plugin: Path, tmp_path: Path) -> None:
    config = load_config(["loss=plugged", f"plugins=[{plugin}]"])
    stored, text = to_dict(config), to_yaml(config)
    write(tmp_path, record=text)
    components._loaded.clear()
    SLOTS["loss"].registry.remove("plugged")
    expected = (
        rf"made with plugins=\[{plugin}\], Python code that runs only if you name it; .* add plugins=\[{plugin}\]"
    )
    with pytest.raises(UserError, match=f"the checkpoint was {expected}"):
        from_dict(stored)
    assert re.search(expected, refusal("config=record", configs=tmp_path))
    assert "plugged" not in SLOTS["loss"].registry
    assert from_dict(stored, [f"plugins=[{plugin}]"]) == load_config(["config=record", f"plugins=[{plugin}]"], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "FileNotFoundError: there is no such file"),
        ("x = 1\ny = 1 / 0\n", "ZeroDivisionError in line 2: division by zero"),
        ("def f(:\n", "SyntaxError"),
        (PLUGIN.format(name="latency"), "ValueError in line 6: loss 'latency' exists already"),
        (PLUGIN.format(name="half") + "\nraise RuntimeError('no')\n", "RuntimeError in line 11: no"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    if text is not None:
        path.write_text(text)
    found = refusal(f"plugins=[{path}]")
    assert f"plugins={path} cannot be imported: {message}" in found
    assert "half" not in SLOTS["loss"].registry
    assert "plugins expects list of text" in refusal("plugins=a.py")
    assert "write plugins=[a.py]" in refusal("plugins=a.py")


# Help


def test_help_lists_every_key_within_120_columns() -> None:
    text = help_text()
    assert max(map(len, text.splitlines())) <= 120
    assert text.isascii()
    words = set(text.split())
    assert set(keys()) <= words
    assert all(f"\n{section}: " in text for section in sections())
    assert all(key.meaning for key in keys().values())


def test_help_is_one_screen_with_the_ten_keys_that_one_needs_first() -> None:
    lines = short_help().splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    assert len({word for word in short_help().split() if word.removesuffix("=") in keys() and word[-1] == "="}) == 10
    assert set(RULES) <= set(re.split(r"[\s,:]+", short_help()))
    assert "--help-all" in short_help()


def test_flags_are_taken_anywhere() -> None:
    assert info_text(["optim.lr=1", "--help", "nonsense"]) == short_help()
    assert info_text(["-h"]) == short_help()
    assert info_text(["optim.lr=1", "--help-all", "nonsense"]) == help_text()
    assert info_text(["optim.lr=1"]) is None
    assert "\nseed: 9\n" in (info_text(["seed=9", "--print-config"]) or "")
    with pytest.raises(UserError):
        info_text(["--print-config", "nonsense"])


def test_trainer_keys_are_lightnings() -> None:
    package = importlib.util.find_spec("lightning")
    assert package is not None
    source = Path(next(iter(package.submodule_search_locations or [])), "pytorch/trainer/trainer.py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    trainer = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Trainer")
    init = next(node for node in trainer.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    names = {argument.arg for argument in [*init.args.args, *init.args.kwonlyargs]}
    ours = {key.removeprefix("trainer.") for key in keys() if key.startswith("trainer.")}
    assert ours <= names


def test_start_up_needs_neither_lightning_nor_matplotlib() -> None:
    """Components come with torch, but what takes longest to import waits until the settings are known to be good."""
    heavy = {"lightning", "torchmetrics", "matplotlib", "sklearn", "tonic", "wandb"}
    code = f"import sys, app.config; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parent, check=False).returncode == 0


# Anything at all

NAMES = st.one_of(
    st.sampled_from([*keys(), *sections(), "", "config", "a..b", "optim.", ".lr", "optim.lr.x", "optim[lr]", "_base_"]),
    st.text(max_size=8),
)
WORDS = """
    null ~ true 1e-4 -1 0 0.5 nan inf 1e400 0x1F ${oops} ${seed} ${optim} ${ ${oc.env:HOME} ??? [] {} [1,2] [[1]] [null]
    {a:1} [a [,] {[1]:2} !!binary &x *x auto antlr count sgd mnist_antlr /etc . .. / 64-true 1:30 '' " -
"""
VALUES = st.one_of(
    st.sampled_from(WORDS.split()),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
    st.just("[" * 2000),
    st.just("9" * 5000),
    st.just("0x" + "f" * 5000),
    st.just("1" + "0" * 400),
)
ARGUMENTS = st.one_of(
    st.builds("{}={}".format, NAMES, VALUES),
    st.builds("--{}={}".format, NAMES, VALUES),
    st.text(max_size=12),
    st.sampled_from(["--print-config", "rule=timing", "task=spike_trains", "loss=count", "neuron.beta_auto=false"]),
)


@given(st.lists(ARGUMENTS, max_size=4))
@example(["probes.landscape_epochs=0x" + "f" * 5000])
@settings(max_examples=300, deadline=None)
def test_whatever_is_typed_gives_settings_or_one_sentence(argv: list[str]) -> None:
    with contextlib.suppress(UserError):
        info_text(argv)
        config = load_config([argument for argument in argv if argument != "--print-config"])
        assert from_dict(to_dict(config)) == config
