"""What a configuration leaves open is filled in by task and rule; what cannot work is refused with the remedy."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..layers.learned import check_learned
from ..losses.loss import Loss
from ..rules.layer_rule import LayerRule
from ..rules.rule import Rule
from ..settings import within
from .components import SLOTS, chosen_names, make
from .environment import agent_run
from .schema import Config, Key, keys, value_of

LARGEST_INTEGER = 2**32 - 1
PATHS = ("out", "ckpt", "data.root", "data.cache", "data.path")
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
    for name in config.callbacks:
        if name not in SLOTS["callbacks"].registry:
            raise UserError(f"callbacks={name} is unknown; known are {', '.join(SLOTS['callbacks'].registry)}")
    fill_names(fill_choices(config))
    problems = (_rule_problems, _network_problems, _delay_problems, _component_problems, _optim_problems)
    rest = (_augmentation_problems, _trainer_problems, _tracking_problems)
    for problem in chain.from_iterable(find(config) for find in (*problems, *rest)):
        raise UserError(problem)
    return config


def fill_choices(config: Config) -> Config:
    """Replace every null that stands for a choice by task, rule or loss; the same object is returned."""
    config.loss = config.loss or _usual_loss(config)
    task, loss = SLOTS["task"].registry[config.task], SLOTS["loss"].registry[config.loss]
    config.readout = config.readout or loss.usual_readout
    if task.is_sized_by_data and None in (config.time_steps, config.network):
        task = config.component("task")
    config.time_steps = task.usual_time_steps if config.time_steps is None else config.time_steps
    config.network = list(task.usual_network) if config.network is None else config.network
    return config


def fill_names(config: Config) -> Config:
    """Name the run's folder, group and run after the choices; the same object is returned."""
    of_agent = f"-{run}" if (run := agent_run()) else ""  # two agents of a W&B sweep may work in one folder
    config.out = config.out or f"runs/{config.task}-{config.rule}-{config.loss}-s{config.seed}{of_agent}"
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


def _usual_loss(config: Config) -> str:
    of_task, rule = SLOTS["task"].registry[config.task].usual_loss, SLOTS["rule"].registry[config.rule]
    return of_task or ("latency" if rule().learns_from_times else "count")


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
    if not within(value, key.bounds):
        raise UserError(f"{key.name}={value} is out of range: it must be {key.range}")


def _rule_problems(config: Config) -> Iterator[str]:
    rule, loss = config.component("rule"), config.component("loss")
    if loss.needs_labels and not config.has_labels:
        usual = SLOTS["task"].registry[config.task].usual_loss
        yield f"loss={config.loss} needs labels, which task={config.task} does not have; use loss={usual}"
    if rule.asks_for("error_S", "error_t") and not learns(rule, loss):
        missing = "timing" if rule.learns_from_times else "activation"
        usable = [name for name, other in SLOTS["loss"].registry.items() if learns(rule, other)]
        yield (
            f"loss={config.loss} with rule={config.rule} learns nothing: the {config.loss} loss has no {missing} "
            f"gradient; use loss={' or loss='.join(usable)}"
        )
    if config.learning.silent_window == "until_fired" and config.loss != "latency":
        yield (
            f"learning.silent_window=until_fired belongs to loss=latency, which alone shortens the window; use "
            f"learning.silent_window=whole with loss={config.loss}"
        )
    if config.objective.spike_cost and not rule.learns_from_spikes:
        yield (
            f"objective.spike_cost={config.objective.spike_cost:g} has no effect on a rule without an activation-based "
            f"error; use objective.spike_cost=0 with rule={config.rule} and its settings"
        )


def _delay_problems(config: Config) -> Iterator[str]:
    """Delays that cannot be, and rules that know neither delays nor recurrent layers."""
    delays, known = config.delays, keys()
    if delays.kind is None:
        for name in ("max_steps", "learn", "lr_factor"):
            value, default = getattr(delays, name), known[f"delays.{name}"].default
            if value != default:
                yield f"delays.{name}={value} has no effect without delays; use delays.kind=axonal, or leave it out"
    elif delays.max_steps >= (config.time_steps or 0):
        yield (
            f"delays.max_steps={delays.max_steps} is as long as the window of time_steps={config.time_steps}; lower it"
        )
    elif not delays.learn and delays.lr_factor != known["delays.lr_factor"].default:
        yield f"delays.lr_factor={delays.lr_factor:g} has no effect with delays.learn=false; leave it out"
    loops = [entry for entry in config.network or [] if entry.startswith("rfc")]
    if isinstance(config.component("rule"), LayerRule) and (loops or delays.kind):
        what = f"delays.kind={delays.kind}" if delays.kind else f"the recurrent layer {loops[0]} of network"
        instead = "delays.kind=null" if delays.kind else f"{loops[0][1:]}"
        yield (
            f"rule={config.rule} differentiates whole layers and has no equation for {what}; use {instead}, or another "
            "rule such as rule=antlr"
        )


def learns(rule: Rule, loss: Loss | type[Loss]) -> bool:
    """Whether a rule gets a gradient from a loss."""
    from_spikes = rule.learns_from_spikes and loss.has_activation_gradient
    return from_spikes or (rule.learns_from_times and loss.has_timing_gradient)


def _network_problems(config: Config) -> Iterator[str]:
    if config.init == "target_rate" and config.init_bias_center:
        yield (
            f"init_bias_center={config.init_bias_center:g} has no effect with init=target_rate, which fits the biases; "
            "use init_bias_center=0"
        )
    if config.init == "target_rate" and config.init_from:
        yield "init=target_rate would fit the biases that init_from= takes over; use init=uniform"
    yield from _learned_problems(config)
    if not config.network:
        yield "network is empty: give the input shape and at least one layer, e.g. network=[64,fc200,fc10]"


def _learned_problems(config: Config) -> Iterator[str]:
    """Constants that cannot be learned, or not by this rule."""
    neuron, rule = config.neuron, config.component("rule")
    for name in ("learn_per", "learn_lr_factor") if not neuron.learn else ():
        if (value := getattr(neuron, name)) != keys()[f"neuron.{name}"].default:
            yield f"neuron.{name}={value} has no effect without neuron.learn=[alpha_v,threshold] or the like"
    try:
        check_learned(neuron, neuron.learn, neuron.learn_per)
    except ValueError as error:
        yield f"neuron.{error}"
    if neuron.learn and isinstance(rule, LayerRule):
        usable = [name for name, other in SLOTS["rule"].registry.items() if not issubclass(other, LayerRule)]
        yield (
            f"neuron.learn=[{','.join(neuron.learn)}]: rule={config.rule} has gradients for weights and biases "
            "alone, and no error of the potential from which a constant could learn; use neuron.learn=[] or rule="
            + ", ".join(usable)
        )


def _component_problems(config: Config) -> Iterator[str]:
    """What the chosen components find wrong, each beside what it constrains."""
    for key, names in chosen_names(config).items():
        slot = SLOTS[key]
        for name in names if slot.group else ():
            component = make(slot, name, value_of(config, slot.group))
            if hasattr(component, "problems"):
                yield from component.problems(config)


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


def _augmentation_problems(config: Config) -> Iterator[str]:
    data = config.data
    shape = config.component("task").input_shape if data.max_shift_pixels else ()
    pixels = min(shape[1:]) if len(shape) == 3 else 0
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
    if config.products != "float32" and trainer.precision != "32-true":
        yield (
            f"products={config.products} rounds what trainer.precision={trainer.precision} keeps; leave one of them out"
        )
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
