"""The settings that every run has: key, type, default, meaning and range, each written once.

The groups ``neuron``, ``learning``, ``objective``, ``data`` and ``probes`` have those of the chosen components besides;
:mod:`app.config.schema` adds them.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..settings import setting as key
from .components import SLOTS, make

T = TypeVar("T")


@dataclass
class NeuronConfig:
    """The neurons."""

    model: str = key("lif", "neuron model: what its constants are made from")
    threshold: float = key(1.0, "membrane potential at which a neuron fires", gt=0)
    reset: Literal["both", "potential", "subtract"] = key(
        "both", "what a spike resets: potential and current, the potential alone, or it takes the threshold from V"
    )
    learn: list[str] = key([], "constants that each layer learns, of alpha_v, alpha_i, threshold; plain engine only")
    learn_per: Literal["layer", "neuron"] = key("layer", "learn one value per layer, or per neuron (conv: per channel)")
    learn_lr_factor: float = key(1.0, "the learning rate of learned constants, in units of optim.lr", gt=0)
    max_spikes_per_neuron: int | None = key(None, "a neuron fires at most so often per sample; null = no limit", ge=1)


@dataclass
class DelaysConfig:
    """Delays on the way to every fully connected layer."""

    kind: Literal["axonal", "dendritic", "synaptic"] | None = key(
        None, "a delay per input neuron, per neuron of the layer, or per synapse; null = no delays"
    )
    max_steps: int = key(20, "delays stay between 0 and so many steps, between which they start at random", ge=1)
    learn: bool = key(True, "train the delays; false = they stay as they start")
    lr_factor: float = key(100.0, "learning rate of the delays, in steps, as a multiple of optim.lr", gt=0)


@dataclass
class LearningConfig:
    """Credit assignment."""

    silent_window: Literal["whole", "until_fired"] = key(
        "whole",
        "where silent neurons and spikes are counted: in the whole window, or, with loss=latency, until all output "
        "neurons of the batch have fired, as the paper's code does",
    )


@dataclass
class ObjectiveConfig:
    """The loss."""

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
    event_dropout: float = key(0.0, "probability that an input event of a training sample is dropped", ge=0, lt=1)
    time_jitter_steps: int = key(0, "each event of a training sample moves by up to so many steps, at random", ge=0)
    max_shift_pixels: int = key(
        0, "images: each training sample moves by up to so many pixels along x and y, at random", ge=0
    )


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

    mode: Literal["offline", "online", "disabled"] = key(
        "offline", "write to disk, send to the server, or neither; WANDB_MODE sets it too", compare=False
    )
    project: str = key("antlr-snn", "project of the run")
    entity: str | None = key(None, "user or team that owns the project; null = your default")
    group: str | None = key(None, "runs to be compared; null = <task>")
    tags: list[str] = key([], "tags of the run")
    name: str | None = key(None, "name of the run; null = last part of out")
    notes: str | None = key(None, "a remark about the run")


@dataclass
class ProbesConfig:
    """Measurements besides the metrics."""


@dataclass
class Config:
    """A run: what is learned by which rule."""

    config: str | None = key(
        None, "name in configs/ or path of a YAML file; null = configs/<task>_<rule>.yaml, if it exists", compare=False
    )
    plugins: list[str] = key([], "Python files or modules to import first, which register what is chosen below")
    task: str = key("digits", "what is learned")
    rule: str = key("antlr", "learning rule")
    loss: str | None = key(None, "null = by task, or by rule: latency if it learns from spike times, else count")
    readout: str | None = key(None, "prediction that selects the best checkpoint; null = by loss")
    seed: int = key(0, "seed of weights, data order and random tasks", ge=0)
    engine: str = key(
        "auto",
        "time loops: plain PyTorch (layerwise), compiled for the CPU (event_driven), or the fastest that applies",
    )
    products: Literal["float32", "tf32", "bf16"] = key(
        "float32",
        "numbers in which a GPU multiplies by weights; TF32 and bfloat16 are faster and round to 10 and 8 bits",
    )
    time_steps: int | None = key(None, "steps per sample; null = by task (nmnist: 300, others: 100)", ge=1, le=32_767)
    network: list[str] | None = key(
        None, "input shape, then fcN, rfcN, convCcK[sS], apoolP, mpoolP, flatten, e.g. [64,fc200,fc10]; null = by task"
    )
    init_from: str | None = key(
        None,
        "run's folder or checkpoint whose weights a new run starts from, layer by layer where shapes fit; null = none",
    )
    init: Literal["uniform", "target_rate"] = key(
        "uniform", "initial biases: all by init_bias_center, or fitted so that neurons fire on init_target_share"
    )
    init_target_share: float = key(
        0.5, "init=target_rate: share of the training samples on which each hidden neuron fires at first", gt=0, lt=1
    )
    init_bias_center: float = key(0.0, "initial biases; 1 = silent input lets a neuron fire in mid-window, 0 = no bias")
    init_weight_mean: float = key(
        0.0,
        "mean of the initial weights in units of 1/sqrt(fan-in), half their range: with 1 none is negative",
        ge=-1000,
        le=1000,
    )
    callbacks: list[str] = key([], "callbacks to add to those that every run has")
    out: str | None = key(None, "folder of the run; null = runs/<task>-<rule>-<loss>-s<seed>")
    ckpt: str | None = key(None, "checkpoint to go on from: a path, or last for the newest in out; null = start anew")
    checkpoint_every_s: float = key(
        60.0, "seconds between two checkpoints within an epoch, of which a killed run needs one; 0 = every step", ge=0
    )
    keep_after_epochs: list[int] = key(
        [], "epochs whose checkpoint is kept for good, as checkpoints/epoch<k>.ckpt", ge=1
    )
    neuron: Any = field(default_factory=NeuronConfig)
    delays: DelaysConfig = field(default_factory=DelaysConfig)
    learning: Any = field(default_factory=LearningConfig)
    objective: Any = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: Any = field(default_factory=DataConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    probes: Any = field(default_factory=ProbesConfig)

    @property
    def has_labels(self) -> bool:
        """Whether the task is a classification."""
        return bool(SLOTS["task"].registry[self.task].has_labels)

    @property
    def folder(self) -> Path:
        """The folder of the run, once the configuration is complete (:func:`app.config.check.complete`)."""
        return Path(_known(self.out))

    @property
    def layers(self) -> list[str]:
        """The network's specification, once the configuration is complete."""
        return _known(self.network)

    @property
    def steps(self) -> int:
        """T, once the configuration is complete."""
        return _known(self.time_steps)

    def component(self, key: str) -> Any:
        """The component that a key such as ``loss`` names, with its settings."""
        slot = SLOTS[key]
        return make(slot, value_of(self, key), value_of(self, slot.group) if slot.group else None)


def _known(value: T | None) -> T:
    assert value is not None  # nothing of a complete configuration is open
    return value


def value_of(config: Any, name: str) -> Any:
    """The value of a dotted key."""
    return operator.attrgetter(name)(config)
