"""What a configuration leaves open is filled in by task and rule; what cannot work is refused with the remedy."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import UserError
from .schema import BOUNDS, Config, Key, LossName, keys, value_of

TIME_STEPS = {"digits": 100, "mnist": 100, "nmnist": 300, "spike_trains": 100}
NETWORKS = {
    "digits": ["64", "fc200", "fc10"],
    "mnist": ["784", "fc800", "fc10"],
    "nmnist": ["2x34x34", "flatten", "fc800", "fc10"],
    "spike_trains": ["100", "fc100", "fc10"],
}
PIXELS = {"digits": 8, "mnist": 28, "nmnist": 34}
"""Rows and columns of the tasks that have images."""
LARGEST_INTEGER = 2**32 - 1
PATHS = ("out", "ckpt", "data.root", "data.cache")
"""Keys that name files and folders."""
LONGEST_NAME = 255 - len("-9999")
"""Bytes, with room for the number that a second run of that name gets."""
PROJECT_FORBIDS = set("/\\#?%:")
"""Characters that Weights & Biases refuses in a project's name."""


def complete(config: Config) -> Config:
    """Check every value, fill in what is open, refuse combinations that cannot work; the same object is returned.

    Raises:
        UserError: names the key and the remedy.
    """
    for key in keys().values():
        _check_value(key, value_of(config, key.name))
    for name in PATHS:
        _expand_home(config, name)
    fill_names(fill_choices(config))
    problems = (_rule_problems, _neuron_problems, _target_problems, _optim_problems, _data_problems, _trainer_problems)
    for problem in chain.from_iterable(find(config) for find in (*problems, _tracking_problems)):
        raise UserError(problem)
    return config


def fill_choices(config: Config) -> Config:
    """Replace every null that stands for a choice by task, rule or loss; the same object is returned."""
    config.loss = config.loss or _usual_loss(config)
    config.readout = config.readout or ("count" if config.loss == "count" else "first")
    config.time_steps = TIME_STEPS[config.task] if config.time_steps is None else config.time_steps
    config.network = list(NETWORKS[config.task]) if config.network is None else config.network
    return config


def fill_names(config: Config) -> Config:
    """Name the run's folder, group and run after the choices; the same object is returned."""
    config.out = config.out or f"runs/{config.task}-{config.rule}-{config.loss}-s{config.seed}"
    config.tracking.group = config.tracking.group or config.task
    config.tracking.name = config.tracking.name or Path(config.out).name or None
    return config


def _expand_home(config: Config, name: str) -> None:
    """Replace a leading ``~``, which shells leave alone in ``key=~/folder`` and in files."""
    section, _, last = name.rpartition(".")
    value = value_of(config, name)
    if value is None:
        return
    try:
        setattr(getattr(config, section) if section else config, last, str(Path(value).expanduser()))
    except RuntimeError:
        raise UserError(f"{name}={value} names a user who has no home here; write the path itself") from None
    if any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in Path(value).parts) or len(value) > 4000:
        raise UserError(f"{name} is too long: a name in a path has {LONGEST_NAME} bytes at most; shorten it")


def _usual_loss(config: Config) -> LossName:
    if config.task == "spike_trains":
        return "spike_train"
    return "count" if config.rule == "activation" else "latency"


def _check_value(key: Key, value: Any) -> None:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            _check_text(key, item)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            _check_number(key, item)


def _check_text(key: Key, value: str) -> None:
    if not value.strip():
        raise UserError(f"{key.name} holds empty text: give a value" + (" or null" if key.is_nullable else ""))
    if "${" in value:
        raise UserError(f"{key.name}={value!r} still holds '${{' after its references were resolved: write it without")
    if has_control(value):
        raise UserError(f"{key.name}={value!r} holds a control character: write it without")


def has_control(text: str) -> bool:
    """Whether there is a character that no file or path can hold: a control character, half of a surrogate pair."""
    return any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" for char in text)


def _check_number(key: Key, value: float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key.name}={value} is not finite: give an ordinary number")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise UserError(f"{key.name} is too large: integers go up to {LARGEST_INTEGER}")
    if not all(BOUNDS[bound][0](value, limit) for bound, limit in key.bounds.items()):
        raise UserError(f"{key.name}={value} is out of range: it must be {key.range}")


def _rule_problems(config: Config) -> Iterator[str]:
    rule, learning = config.rule, config.learning
    if config.task == "spike_trains" and config.loss != "spike_train":
        yield f"loss={config.loss} needs labels, which task=spike_trains does not have; use loss=spike_train"
    if rule == "timing" and config.loss == "count":
        yield (
            "loss=count with rule=timing learns nothing: the count loss has no timing gradient; "
            "use loss=latency or loss=spike_train"
        )
    if rule != "activation" and learning.variant != "srm":
        yield (
            f"learning.variant={learning.variant} exists for rule=activation only; "
            f"use learning.variant=srm with rule={rule}"
        )
    if config.objective.spike_cost and (rule == "timing" or (rule == "antlr" and learning.lambda_act == 0)):
        yield (
            f"objective.spike_cost={config.objective.spike_cost:g} has no effect without an activation-based error; "
            "use objective.spike_cost=0 with rule=timing or learning.lambda_act=0"
        )
    if rule == "antlr" and learning.lambda_act == 0 and (learning.lambda_tim == 0 or config.loss == "count"):
        yield (
            f"learning.lambda_act=0 with learning.lambda_tim={learning.lambda_tim:g} and loss={config.loss} leaves "
            "no gradient; use learning.lambda_act=1"
        )


def _neuron_problems(config: Config) -> Iterator[str]:
    neuron = config.neuron
    missing = [name for name in ("beta_v", "beta_bias") if getattr(neuron, name) is None]
    given = [name for name in ("beta_v", "beta_bias") if getattr(neuron, name) is not None]
    given += ["beta_i"] if neuron.beta_i != keys()["neuron.beta_i"].default else []
    if neuron.beta_auto and given:
        yield (
            f"neuron.{given[0]}={getattr(neuron, given[0])} has no effect with neuron.beta_auto=true; "
            "use neuron.beta_auto=false"
        )
    if not neuron.beta_auto and missing:
        yield f"neuron.{missing[0]} is needed with neuron.beta_auto=false: give a number, e.g. neuron.{missing[0]}=1"
    if config.init == "target_rate" and config.init_bias_center:
        yield (
            f"init_bias_center={config.init_bias_center:g} has no effect with init=target_rate, which fits the biases; "
            "use init_bias_center=0"
        )
    if not config.network:
        yield "network is empty: give the input shape and at least one layer, e.g. network=[64,fc200,fc10]"


def _target_problems(config: Config) -> Iterator[str]:
    objective, most = config.objective, config.neuron.max_spikes_per_neuron
    wanted = f"objective.max_target_spikes={objective.max_target_spikes}"
    if objective.min_target_spikes > objective.max_target_spikes:
        yield (
            f"objective.min_target_spikes={objective.min_target_spikes} is larger than {wanted}: the label's neuron "
            "would be told to fire less than the others; raise objective.max_target_spikes"
        )
    if config.loss == "latency" or config.task == "spike_trains":
        return
    if objective.max_target_spikes > (config.time_steps or 0):
        yield f"{wanted} is more than one spike per step; use at most time_steps={config.time_steps}"
    if most is not None and objective.max_target_spikes > most:
        yield f"{wanted} is out of reach with neuron.max_spikes_per_neuron={most}; raise the latter or lower the former"


def _optim_problems(config: Config) -> Iterator[str]:
    optim = config.optim
    if optim.momentum and optim.name != "sgd":
        yield f"optim.momentum={optim.momentum} is for optim.name=sgd; use optim.momentum=0 with {optim.name}"
    if optim.schedule == "cosine" and config.trainer.max_epochs < 1:
        yield (
            f"optim.schedule=cosine needs a number of epochs, but trainer.max_epochs={config.trainer.max_epochs}; "
            "use trainer.max_epochs=10 or optim.schedule=constant"
        )
    if 0 < config.trainer.max_epochs <= optim.warmup_epochs:
        yield (
            f"optim.warmup_epochs={optim.warmup_epochs:g} leaves no epoch at the full learning rate with "
            f"trainer.max_epochs={config.trainer.max_epochs}; lower the former or raise the latter"
        )


def _data_problems(config: Config) -> Iterator[str]:
    data = config.data
    yield from chain(_augmentation_problems(config), _fold_problems(config))
    if config.task not in ("digits", "mnist"):
        return
    if data.latency_min_steps > data.latency_max_steps:
        yield (
            f"data.latency_min_steps={data.latency_min_steps} is larger than "
            f"data.latency_max_steps={data.latency_max_steps}: bright pixels fire first, so lower the former"
        )
    if data.latency_max_steps >= (config.time_steps or 0):
        yield (
            f"data.latency_max_steps={data.latency_max_steps} is past the last of time_steps={config.time_steps}; "
            "lower it or raise time_steps"
        )


def _fold_problems(config: Config) -> Iterator[str]:
    data = config.data
    if data.folds is not None and config.task != "nmnist":
        yield f"data.folds={data.folds} is for task=nmnist; use data.folds=null with task={config.task}"
    elif data.folds is None and data.fold:
        yield f"data.fold={data.fold} needs the number of folds; add data.folds=5"
    elif data.folds is not None and data.fold >= data.folds:
        yield f"data.fold={data.fold} does not exist: data.folds={data.folds} are counted from 0"


def _augmentation_problems(config: Config) -> Iterator[str]:
    data, pixels = config.data, PIXELS.get(config.task, 0)
    if data.time_jitter_steps >= (config.time_steps or 0):
        yield (
            f"data.time_jitter_steps={data.time_jitter_steps} is longer than the window of "
            f"time_steps={config.time_steps}; lower it"
        )
    if data.max_shift_pixels and not pixels:
        yield f"data.max_shift_pixels needs images, which task={config.task} does not have; use data.max_shift_pixels=0"
    elif data.max_shift_pixels and data.max_shift_pixels >= pixels:
        yield (
            f"data.max_shift_pixels={data.max_shift_pixels} moves the {pixels}x{pixels} images of task={config.task} "
            "out of sight; lower it"
        )


def _trainer_problems(config: Config) -> Iterator[str]:
    trainer = config.trainer
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        yield from _share_problems(name, getattr(trainer, name), least=0)
    yield from _share_problems("val_check_interval", trainer.val_check_interval, least=1)
    if trainer.devices == 0:
        yield "trainer.devices=0 leaves nothing to run on; use trainer.devices=1, or -1 for all devices"
    if isinstance(trainer.deterministic, str) and trainer.deterministic != "warn":
        yield f"trainer.deterministic={trainer.deterministic!r} is not one of true, false, warn"


def _share_problems(name: str, value: float | None, least: int) -> Iterator[str]:
    if isinstance(value, int) and value < least:
        yield f"trainer.{name}={value} is out of range: a number of batches is at least {least}"
    if isinstance(value, float) and (not 0 <= value <= 1 or (least and value == 0)):
        yield f"trainer.{name}={value} is a share and must be between 0 and 1; write a number of batches as an integer"


def _tracking_problems(config: Config) -> Iterator[str]:
    tracking = config.tracking
    if PROJECT_FORBIDS & set(tracking.project):
        yield f"tracking.project={tracking.project!r} must not hold any of {' '.join(sorted(PROJECT_FORBIDS))}"
    for tag in tracking.tags:
        if len(tag) > 64:
            yield f"tracking.tags holds {tag[:20]!r}…, which is longer than 64 characters; shorten it"
