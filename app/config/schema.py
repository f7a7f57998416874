"""Every setting of the application: key, type, default, meaning and range, each written once.

:mod:`app.config` fills these dataclasses from a file and the command line, :mod:`app.config.help` prints them.
"""

# ruff: noqa: RUF009 - setting() is dataclasses.field() and makes a new default for every object

from __future__ import annotations

import operator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..settings import setting as key

Task = Literal["digits", "mnist", "nmnist", "spike_trains"]
RuleName = Literal["activation", "timing", "antlr"]
LossName = Literal["count", "spike_train", "latency"]
ReadoutName = Literal["first", "count"]

BOUNDS = {
    "ge": (operator.ge, "at least", ">="),
    "gt": (operator.gt, "greater than", ">"),
    "le": (operator.le, "at most", "<="),
    "lt": (operator.lt, "less than", "<"),
}
"""Bounds of a value: comparison, words, sign."""


@dataclass
class NeuronConfig:
    """The neuron model."""

    alpha_v: float = key(0.99, "share of the membrane potential that is left after one step", ge=0, le=1)
    alpha_i: float = key(0.99, "share of the synaptic current that is left after one step", ge=0, le=1)
    beta_auto: bool = key(True, "choose the three betas so that one spike through weight 1 just reaches the threshold")
    beta_i: float = key(1.0, "synaptic current per weighted input spike; with beta_auto=false", gt=0)
    beta_v: float | None = key(None, "membrane potential per synaptic current; with beta_auto=false", gt=0)
    beta_bias: float | None = key(None, "membrane potential per bias; with beta_auto=false", gt=0)
    threshold: float = key(1.0, "membrane potential at which a neuron fires", gt=0)
    reset: Literal["both", "potential", "subtract"] = key(
        "both", "what a spike resets: potential and current, the potential alone, or it takes the threshold from V"
    )
    max_spikes_per_neuron: int | None = key(None, "a neuron fires at most so often per sample; null = no limit", ge=1)


@dataclass
class LearningConfig:
    """Credit assignment."""

    variant: Literal["srm", "rnn", "slayer"] = key(
        "srm", "rule=activation only: reset not differentiated (srm), differentiated (rnn), errors pass it (slayer)"
    )
    surrogate: Literal["exponential", "rectangular"] = key("exponential", "shape of the surrogate derivative dS/dV")
    ste_alpha: float = key(1.0, "exponential surrogate: its height at the threshold", gt=0)
    ste_beta: float = key(3.0, "exponential surrogate: its decay with the distance from the threshold", ge=0)
    surrogate_width: float = key(1.0, "rectangular surrogate: 1/width where |V - threshold| < width/2", gt=0)
    lambda_act: float = key(1.0, "rule=antlr: weight of the activation-based error", ge=0)
    lambda_tim: float = key(1.0, "rule=antlr: weight of the timing-based error", ge=0)
    min_slope: float = key(0.01, "rule=timing, antlr: least slope by which a timing error is divided, per step", gt=0)
    silent_penalty: float = key(100.0, "rule=timing: coefficient of the penalty that revives silent neurons", ge=0)


@dataclass
class ObjectiveConfig:
    """The loss."""

    max_target_spikes: int = key(1, "spikes wanted of the label's output neuron; count and spike_train loss", ge=1)
    min_target_spikes: int = key(0, "spikes wanted of the other output neurons; count and spike_train loss", ge=0)
    kappa_exp: float = key(0.95, "spike_train loss: share of a spike's trace that is left after one step", ge=0, le=1)
    beta_softmax: float = key(1.0, "latency loss: steepness of the softmax over first-spike times, per step", gt=0)
    lambda_no_spike: float = key(0.1, "latency loss: weight of the share of samples whose label neuron is silent", ge=0)
    label_smoothing: float = key(
        0.0, "latency loss: share of the target distribution that is spread evenly over all classes", ge=0, lt=1
    )
    spike_cost: float = key(0.0, "training loss for each spike that a hidden layer fires before the decision", ge=0)


@dataclass
class OptimConfig:
    """Optimisation."""

    name: Literal["adam", "sgd", "adamw"] = key("adam", "optimizer")
    lr: float = key(1e-3, "learning rate", gt=0)
    weight_decay: float = key(0.0, "weight decay", ge=0)
    momentum: float = key(0.0, "optim.name=sgd only: momentum", ge=0, lt=1)
    grad_clip: float | None = key(1e6, "clip every gradient element (or the norm) to this; null = off", gt=0)
    grad_clip_algorithm: Literal["value", "norm"] = key("value", "what grad_clip limits: each element or the norm")
    schedule: Literal["constant", "cosine"] = key("constant", "learning rate over the epochs; cosine falls to 0")
    warmup_epochs: float = key(0.0, "epochs, or a part of one, in which the learning rate first rises from 0", ge=0)


@dataclass
class DataConfig:
    """Data sets."""

    root: str = key("data", "folder of the raw data sets")
    cache: str = key("data/cache", "folder of converted data sets")
    batch_size: int = key(16, "samples per training step and process", ge=1)
    eval_batch_size: int = key(256, "samples per validation and test step", ge=1)
    num_workers: int = key(0, "processes that load data; 0 = the training process itself", ge=0)
    val_samples: int | None = key(None, "training samples held out for validation; null = the task's own split", ge=1)
    latency_min_steps: int = key(0, "digits, mnist: step at which the brightest pixel fires", ge=0)
    latency_max_steps: int = key(24, "digits, mnist: step at which the darkest pixel that fires would fire", ge=0)
    duration_ms: int = key(300, "nmnist: length of a recording in ms; one step is duration_ms / time_steps", ge=1)
    folds: int | None = key(None, "nmnist: cross-validation over Train and Test together in so many folds", ge=2)
    fold: int = key(0, "nmnist: the fold that is tested, from 0; with data.folds", ge=0)
    first_event_only: bool = key(False, "nmnist: keep the first event of each input only (single-spike coding)")
    event_dropout: float = key(0.0, "probability that an input event of a training sample is dropped", ge=0, lt=1)
    time_jitter_steps: int = key(0, "each event of a training sample moves by up to so many steps, at random", ge=0)
    max_shift_pixels: int = key(
        0, "digits, mnist, nmnist: each training sample moves by up to so many pixels along x and y, at random", ge=0
    )
    input_rate: float = key(0.05, "spike_trains: spike probability per step of each input train", gt=0, le=1)
    target_rate: float = key(0.02, "spike_trains: spike probability per step of each target train", gt=0, le=1)


@dataclass
class TrainerConfig:
    """Lightning's Trainer; the keys are its own."""

    max_epochs: int = key(10, "stop after so many epochs; -1 = no limit", ge=-1)
    max_steps: int = key(-1, "stop after so many optimizer steps; -1 = no limit", ge=-1)
    accelerator: str = key("auto", "cpu, gpu, ... or auto")
    devices: int | str = key(1, "number of processes or devices, a list such as '0,1', or auto", ge=-1)
    num_nodes: int = key(1, "number of machines", ge=1)
    strategy: str = key("auto", "how processes work together, e.g. ddp")
    precision: Literal["32-true", "64-true"] = key("32-true", "floating point numbers of 32 or 64 bits")
    limit_train_batches: int | float | None = key(None, "training batches per epoch: an integer, or a share like 0.1")
    limit_val_batches: int | float | None = key(None, "validation batches: an integer or a share")
    limit_test_batches: int | float | None = key(None, "test batches: an integer or a share")
    accumulate_grad_batches: int = key(1, "batches per optimizer step", ge=1)
    check_val_every_n_epoch: int = key(1, "epochs between two validations", ge=1)
    val_check_interval: int | float | None = key(
        None, "batches between validations: an integer, or a share of an epoch"
    )
    log_every_n_steps: int = key(50, "steps between two logged values", ge=1)
    num_sanity_val_steps: int = key(0, "validation batches tried before training; -1 = all", ge=-1)
    enable_progress_bar: bool = key(True, "show a progress bar")
    deterministic: bool | str = key(True, "true = bit-for-bit reproducible, warn = where possible, false")
    detect_anomaly: bool = key(False, "look for NaN in the backward pass (slow)")
    profiler: Literal["simple", "advanced", "pytorch"] | None = key(None, "Lightning's profiler; null = off")


@dataclass
class TrackingConfig:
    """Weights & Biases."""

    mode: Literal["offline", "online", "disabled"] = key("offline", "write to disk, send to the server, or neither")
    project: str = key("antlr-snn", "project of the run")
    entity: str | None = key(None, "user or team that owns the project; null = your default")
    group: str | None = key(None, "runs to be compared; null = <task>")
    tags: list[str] = key([], "tags of the run")
    name: str | None = key(None, "name of the run; null = last part of out")
    notes: str | None = key(None, "a remark about the run")


@dataclass
class ProbesConfig:
    """Measurements besides the metrics."""

    raster: bool = key(True, "draw spike rasters of a validation sample")
    landscape_epochs: list[int] = key([], "epochs after which loss and gradients of all rules are compared", ge=0)
    landscape_points: int = key(21, "grid points per direction of the landscape", ge=2)
    landscape_span: float = key(1.0, "reach of the landscape in each direction, in filter-normalised units", gt=0)
    landscape_samples: int = key(64, "samples over which the landscape's loss is averaged", ge=1)


@dataclass
class Config:
    """A run: what is learned by which rule."""

    config: str | None = key(
        None, "name in configs/ or path of a YAML file; null = configs/<task>_<rule>.yaml, if it exists", compare=False
    )
    task: Task = key("digits", "what is learned")
    rule: RuleName = key("antlr", "learning rule")
    loss: LossName | None = key(None, "null = by rule (activation: count, others: latency); spike_trains: spike_train")
    readout: ReadoutName | None = key(None, "prediction that selects the best checkpoint; null = by loss")
    seed: int = key(0, "seed of weights, data order and random tasks", ge=0)
    engine: Literal["auto", "layerwise", "event_driven", "reference", "numba"] = key(
        "auto",
        "time loops: plain PyTorch (layerwise), compiled for the CPU (event_driven), or the fastest that applies",
    )
    time_steps: int | None = key(None, "steps per sample; null = by task (nmnist: 300, others: 100)", ge=1, le=32_767)
    network: list[str] | None = key(
        None, "input shape, then fcN, convCcK, apoolP, mpoolP, flatten, e.g. [64,fc200,fc10]; null = by task"
    )
    init: Literal["uniform", "target_rate"] = key(
        "uniform", "initial biases: all by init_bias_center, or fitted so that neurons fire on init_target_share"
    )
    init_target_share: float = key(
        0.5, "init=target_rate: share of the training samples on which each hidden neuron fires at first", gt=0, lt=1
    )
    init_bias_center: float = key(0.0, "initial biases; 1 = silent input lets a neuron fire in mid-window, 0 = no bias")
    out: str | None = key(None, "folder of the run; null = runs/<task>-<rule>-<loss>-s<seed>")
    ckpt: str | None = key(None, "checkpoint to go on from: a path, or last for the newest in out; null = start anew")
    checkpoint_every_s: float = key(
        60.0, "seconds between two checkpoints within an epoch, of which a killed run needs one; 0 = every step", ge=0
    )
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    probes: ProbesConfig = field(default_factory=ProbesConfig)


@dataclass(frozen=True)
class Key:
    """One setting.

    Args:
        name: dotted key, e.g. ``optim.lr``.
        hint: its type.
        default: its default.
        meaning: what it does.
        bounds: limits of its value, e.g. ``{"gt": 0}``.
    """

    name: str
    hint: Any
    default: Any
    meaning: str
    bounds: dict[str, float]

    @property
    def type(self) -> str:
        """The type in words, e.g. ``integer or null``."""
        return type_words(self.hint)

    @property
    def expected(self) -> str:
        """The type in words for a message, e.g. ``one of adam, sgd, adamw``."""
        return f"one of {self.type}" if get_origin(self.choices[0]) is Literal else self.type

    @property
    def range(self) -> str:
        """The bounds in words, e.g. ``at least 0 and less than 1``."""
        return " and ".join(f"{BOUNDS[bound][1]} {limit}" for bound, limit in self.bounds.items())

    @property
    def signs(self) -> str:
        """The bounds in signs, e.g. ``>= 0, < 1``."""
        return ", ".join(f"{BOUNDS[bound][2]} {limit}" for bound, limit in self.bounds.items())

    @property
    def choices(self) -> list[Any]:
        """The types joined in ``hint`` (``int | None``: both), alone if there is one."""
        return list(get_args(self.hint)) if get_origin(self.hint) in (Union, UnionType) else [self.hint]

    @property
    def is_text(self) -> bool:
        """Whether every value but null is text, so that ``key=1e3`` means the three letters."""
        return all(hint in (str, NoneType) or get_origin(hint) is Literal for hint in self.choices)

    @property
    def is_texts(self) -> bool:
        """Whether the value is a list of text."""
        return list[str] in self.choices

    @property
    def is_nullable(self) -> bool:
        """Whether null is a value."""
        return NoneType in self.choices


WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "null"}


def type_words(hint: Any) -> str:
    """A type in words for users: ``int | None`` is "integer or null"."""
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in get_args(hint) if part is not int or float not in get_args(hint)]
        return " or ".join(type_words(part) for part in parts)
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    if get_origin(hint) is list:
        return "list of " + {str: "text", int: "integers"}[get_args(hint)[0]]
    return WORDS[hint]


@cache
def keys() -> dict[str, Key]:
    """All settings by dotted key, in the order in which they are declared."""
    return {k.name: k for k in _keys(Config, "")}


def _keys(owner: type, prefix: str) -> list[Key]:
    hints, default, found = get_type_hints(owner), owner(), []
    for item in fields(owner):
        if is_dataclass(hints[item.name]):
            found += _keys(hints[item.name], f"{prefix}{item.name}.")
        else:
            value, about = getattr(default, item.name), item.metadata
            found.append(Key(prefix + item.name, hints[item.name], value, about["help"], about["bounds"]))
    return found


def sections() -> dict[str, str]:
    """The groups of keys and what they are about."""
    return {name: kind.__doc__ or "" for name, kind in get_type_hints(Config).items() if is_dataclass(kind)}


def value_of(config: Any, name: str) -> Any:
    """The value of a dotted key."""
    return operator.attrgetter(name)(config)
