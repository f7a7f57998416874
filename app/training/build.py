"""The only place where configuration becomes objects."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from .. import tracking
from ..callbacks.finite_state import FiniteState
from ..callbacks.lost_processes import LostProcesses
from ..callbacks.progress import SpikeProgressBar
from ..callbacks.registered import RunParts
from ..callbacks.spike_counts import SpikeCounts
from ..callbacks.target_rate import TargetRate
from ..config import Config, to_dict
from ..config.check import learns
from ..config.components import SLOTS, chosen_names, make
from ..data.augmentation import Augmentation
from ..data.base import EventDataModule
from ..data.loader import check_room, raise_worker_failure
from ..engines import ENGINES, Choice
from ..errors import UserError
from ..layers.delays import Delays
from ..network import Network
from ..neuron.lif import Neuron, centre_bias
from ..neuron.limits import LARGEST
from ..neuron.models import NeuronModel
from ..notice import warn
from ..resume.checkpoint import AtomicCheckpoints
from ..resume.fits_run import FitsRun
from ..resume.metrics_file import MetricsFile
from ..resume.origin import Origin
from ..resume.rank_state import RandomState, RunningMetrics
from ..resume.saving import BestCheckpoint, LastCheckpoint
from ..resume.stop_signals import StopSignals
from ..rules import Rule
from ..run_files import METRICS
from ..seeds import stream_seed
from ..version import code_version
from .module import Optimisation, SpikingModule
from .processes import ending_together, launched, meet, meet_when_started, settle_rank
from .start import Start
from .start_from import StartedFrom, start_from

T = TypeVar("T")


def build_neuron(config: Config) -> Neuron:
    """The neuron constants."""
    n = config.neuron
    with _naming("neuron"):
        model: NeuronModel = config.component("neuron.model")
        return model.neuron(config.steps, n.threshold, n.max_spikes_per_neuron, n.reset)


def build_delays(config: Config) -> Delays | None:
    """The delays of the fully connected layers."""
    delays = config.delays
    with _naming("delays"):
        return Delays(delays.kind, delays.max_steps, delays.learn) if delays.kind else None


@contextmanager
def _naming(section: str) -> Iterator[None]:
    """Errors of the core name an argument; for the user it is a key of this section, or of none."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{section}{'.' if section else ''}{error}") from None


COMPARED = ("activation", "timing", "antlr")


def compared_rules(config: Config) -> dict[str, Rule]:
    """The paper's rules and the run's own that learn from its loss, with its settings: whose gradients are compared."""
    loss, slot = config.component("loss"), SLOTS["rule"]
    rules = {name: make(slot, name, config.learning) for name in dict.fromkeys((*COMPARED, config.rule))}
    return {name: rule for name, rule in rules.items() if learns(rule, loss)}


def build_network(config: Config) -> Network:
    """The network with its starting weights, a function of the seed alone; global random numbers are left alone."""
    neuron = build_neuron(config)
    bias = config.init_bias_center * centre_bias(neuron, config.steps) if config.init_bias_center else 0.0
    if not abs(bias) <= LARGEST:
        raise UserError(f"init_bias_center={config.init_bias_center:g} makes biases that no float32 holds; try 1")
    rule = config.component("rule")
    with _naming(""), torch.random.fork_rng([]):
        torch.random.default_generator.manual_seed(stream_seed(config.seed, "weights"))
        network = Network(
            config.layers,
            neuron,
            rule,
            bias,
            config.engine,
            delays=build_delays(config),
            products=config.products,
            learn=config.neuron.learn,
            learn_per=config.neuron.learn_per,
        )
        torch.random.default_generator.manual_seed(stream_seed(config.seed, "recurrent"))
        network.draw_recurrent_weights()
        torch.random.default_generator.manual_seed(stream_seed(config.seed, "delays"))
        network.draw_delays()
    for layer in network.spiking if config.init_weight_mean else ():
        layer.weight.data.add_(config.init_weight_mean * layer.fan_in**-0.5)
    return network


def build_module(config: Config) -> SpikingModule:
    """The LightningModule."""
    optim = config.optim
    schedule = (optim.schedule, optim.warmup_epochs)
    factors = (config.delays.lr_factor, config.neuron.learn_lr_factor)
    how = Optimisation(optim.name, optim.lr, optim.weight_decay, optim.momentum, *schedule, *factors)
    network = build_network(config)
    classes = network.spiking[-1].shape[0] if config.has_labels else 0
    penalties = (network.rule.silent_penalty, config.objective.spike_cost)
    until_fired = config.learning.silent_window == "until_fired"
    module = SpikingModule(network, config.component("loss"), how, *penalties, classes, to_dict(config), until_fired)
    if config.trainer.precision == "64-true":
        module.double()  # Lightning would do it after the weights of a checkpoint were put in, rounded to 32 bits
    return _without_empty_hooks(module, L.LightningModule)


def build_data(config: Config, network: Network) -> EventDataModule:
    """The data module of the task, checked against the network's input and output.

    Raises:
        UserError: the network does not fit the task.
    """
    data = _data_module(config, network)
    if prod(network.input_shape) != prod(data.input_shape):
        raise UserError(
            f"network starts with {config.layers[0]}, but task={config.task} has "
            f"{'x'.join(map(str, data.input_shape))} inputs; start it with {_fitting(data.input_shape)}"
        )
    outputs = network.spiking[-1].shape[0]
    if outputs < data.num_classes:
        raise UserError(
            f"network ends with {config.layers[-1]}, but task={config.task} has {data.num_classes} classes; "
            f"end it with fc{data.num_classes}"
        )
    return data


def _fitting(shape: tuple[int, ...]) -> str:
    flat = str(prod(shape))
    return flat if len(shape) == 1 else f"{flat} or {'x'.join(map(str, shape))}"


def _data_module(config: Config, network: Network) -> EventDataModule:
    d, task = config.data, config.component("task")
    return EventDataModule(
        task.sized(network.input_shape, network.spiking[-1].shape[0]),
        time_steps=config.time_steps,
        batch_size=d.batch_size,
        eval_batch_size=d.eval_batch_size,
        num_workers=d.num_workers,
        seed=config.seed,
        augmentation=Augmentation(d.event_dropout, d.max_shift_pixels, d.time_jitter_steps),
    )


@dataclass
class Run:
    """Everything that ``train.py`` needs."""

    start: Start
    trainer: L.Trainer
    module: SpikingModule
    data: EventDataModule
    best: BestCheckpoint
    timer: Timer
    metrics: MetricsFile
    stop: StopSignals
    wandb: tracking.RunLogger | None = None
    origin: dict[str, str] = field(default_factory=dict)
    engine: Choice | None = None

    @property
    def runs_on(self) -> dict[str, str]:
        """The engine and the device."""
        return {"engine": self.engine.name if self.engine else "", "device": self.trainer.strategy.root_device.type}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Load the data and take the folder, which stays this run's until the block ends, then start W&B.

        What can be refused is refused before; what a library refuses in the block before training is a sentence too,
        and leaves nothing behind.

        Raises:
            UserError: whatever is wrong with the data, the folder or the settings.
        """
        self.start.refuse_taken(self.trainer)
        if launched(self.trainer):
            meet(self.trainer)
        if self.trainer.is_global_zero:
            self.data.prepare("train")
            self.data.setup("fit")
            check_batches(self.trainer, self.data)
            check_room(self.data.num_workers)
            self.origin = {"code": code_version(), "data": self.data.data_fingerprint(), **self.runs_on}
        with self.start.taken(self.trainer, self.origin) as start:
            if start.out != self.start.out:
                self._move(start)
            meet_when_started(self.trainer)
            with ending_together(self.trainer), _refusing():
                self._track()
                yield

    def _move(self, start: Start) -> None:
        """Be the same run in another folder."""
        self.start = start
        self.module.config = to_dict(start.config)
        moved = _furnished(start, self.module, self.data)
        self.trainer, self.best, self.timer, self.metrics = moved.trainer, moved.best, moved.timer, moved.metrics
        self.stop = moved.stop

    def _track(self) -> None:
        config = self.start.config
        self.wandb = tracking.run_logger(config, to_dict(config), self.origin, self.start.out, self.metrics.rows)
        if self.wandb:
            self.trainer.loggers = [*self.trainer.loggers, self.wandb]

    def test(self) -> None:
        """Test the best checkpoint by validation on the test split, which is read here for the first time."""
        limit = self.trainer.limit_test_batches
        if isinstance(limit, float) and 0 < limit < 1:
            if self.trainer.is_global_zero:
                self.data.prepare("test")
            self.trainer.strategy.barrier()
            if limit * (batches := self.data.batches("test")) < 1:
                warn(f"trainer.limit_test_batches={limit} of {batches} is less than one batch; testing one")
                self.trainer.limit_test_batches = 1
        self.trainer.test(self.module, datamodule=self.data, ckpt_path=self.chosen_path, verbose=False)

    @property
    def chosen_path(self) -> str | None:
        """The best checkpoint by validation; None when no epoch was run, then the weights are tested as they are."""
        return str(self.best.path) if self.best.written else None

    def print(self, text: str) -> None:
        """Print once, not once per process."""
        if self.trainer.is_global_zero:
            print(text, flush=True)


def quiet() -> None:
    """Keep Lightning's notices that a user can do nothing about off the screen; its warnings of substance stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for notice in (
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
        ".*LeafSpec.*",
        ".*recommended to use .self.log.*sync_dist=True.*",  # the metrics synchronise themselves
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*srun. command is available on your system but is not used.*",
    ):
        warnings.filterwarnings("ignore", message=notice)


def build_run(start: Start) -> Run:
    """All objects of a run, except its W&B logger; nothing is written and no data are read.

    Args:
        start: the configuration, the folder, and the checkpoint if the run goes on from one.
    """
    quiet()
    config = start.config
    L.seed_everything(config.seed, workers=True, verbose=False)
    module = build_module(config)
    data = build_data(config, module.network)
    if config.init_from and start.step is None:
        module.started_from = start_from(module.network, config)
    run = _furnished(start, module, data)
    if config.products != "float32" and run.trainer.strategy.root_device.type != "cuda":
        raise UserError(
            f"products={config.products} is for GPUs (CUDA, ROCm), and this run is not on one; leave it out"
        )
    run.engine = _engine(module.network, run.trainer)
    return run


@contextmanager
def _refusing() -> Iterator[None]:
    """Sentences for what libraries raise."""
    try:
        yield
    except MisconfigurationException as error:
        raise _lightning_refuses(error) from None
    except RuntimeError as error:
        raise_worker_failure(error)
        raise


def _lightning_refuses(error: Exception) -> UserError:
    return UserError(f"trainer.*: Lightning refuses this combination: {' '.join(str(error).split())}")


def _engine(network: Network, trainer: L.Trainer) -> Choice:
    """The engine that runs the network on the trainer's device, with its floating point numbers.

    Raises:
        UserError: the engine that was asked for cannot.
    """
    device, dtype = trainer.strategy.root_device, torch.float64 if trainer.precision == "64-true" else torch.float32
    with _naming(""):
        choice = copy.deepcopy(network).to(device, dtype).choose_engine()
    meant = {
        name: why for name, why in choice.passed_over.items() if getattr(ENGINES[name], "device", None) == device.type
    }
    for name, why in meant.items():
        warn(
            f"engine=auto falls back to {choice.name}, which takes many times as long (docs/PERFORMANCE.md): "
            f"{name} cannot run this network, {why}"
        )
    return choice


def check_batches(trainer: L.Trainer, data: EventDataModule) -> None:
    """Refuse limits that leave no batch, or no validation; the samples are loaded.

    Raises:
        UserError: names the key.
    """
    data.trainer = trainer
    count = {"train": data.batches("train"), "val": data.batches("val")}
    for split, batches in count.items():
        limit = getattr(trainer, f"limit_{split}_batches")
        if isinstance(limit, float) and 0 < limit * batches < 1:
            raise UserError(
                f"trainer.limit_{split}_batches={limit} of {batches} batches is less than one; "
                f"use a larger share, or a number of batches such as trainer.limit_{split}_batches=1"
            )
        count[split] = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    every = trainer.val_check_interval
    if isinstance(every, int) and every > count["train"] > 0 and count["val"]:
        raise UserError(
            f"trainer.val_check_interval={every} is more than the {count['train']} training batches of an epoch; "
            f"use at most {count['train']}, or leave it out and use trainer.check_val_every_n_epoch"
        )


def _furnished(start: Start, module: SpikingModule, data: EventDataModule) -> Run:
    """The run in its folder: callbacks, logger, trainer."""
    config, out = start.config, start.out
    metrics = MetricsFile(out / METRICS, start.step, start.metrics)
    best, timer, stop = _best_checkpoint(config, out), Timer(), StopSignals(out)
    kept = [Origin(code_version()), RandomState(), RunningMetrics()]
    last = LastCheckpoint(out, config.checkpoint_every_s, metrics, best, stop, config.keep_after_epochs)
    saving = [FitsRun(), LostProcesses(out), best, last]
    callbacks: list[L.Callback] = [*kept, SpikeCounts(), FiniteState(), timer, stop, *saving]
    if config.init == "target_rate" and start.step is None:
        callbacks.append(TargetRate(config.init_target_share))
    if config.init_from:
        callbacks.append(StartedFrom(module))
    callbacks += chosen_callbacks(config, out)
    return Run(start, build_trainer(config, out, callbacks, [metrics]), module, data, best, timer, metrics, stop)


def chosen_callbacks(config: Config, out: Path) -> list[L.Callback]:
    """The callbacks that settings ask for."""
    run = RunParts(out, config.seed, lambda: compared_rules(config))
    slot = SLOTS["callbacks"]
    chosen = [make(slot, name, config.probes) for name in chosen_names(config)["callbacks"]]
    return [callback for one in chosen if (callback := one.callback(run)) is not None]


def _best_checkpoint(config: Config, out: Path) -> BestCheckpoint:
    """Keeps the best validation; without validation the newest state is the best."""
    if config.trainer.limit_val_batches == 0:
        return BestCheckpoint(out, None, "min")
    if not config.has_labels:
        return BestCheckpoint(out, "val/loss", "min")
    return BestCheckpoint(out, f"val/accuracy_{config.readout}", "max")


def _plugins() -> list[Any]:
    """Atomic checkpoints; under SLURM no requeueing by Lightning, whose own checkpoint would not be among ours."""
    slurm = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
    return [AtomicCheckpoints(), *slurm]


STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def _without_empty_hooks(owner: T, base: type) -> T:
    """Take away the hooks of every step that do nothing: Lightning skips what is not callable, and a step is short."""
    for hook in STEP_HOOKS:
        if getattr(type(owner), hook) is getattr(base, hook):
            setattr(owner, hook, None)
    return owner


def build_trainer(config: Config, out: Path, callbacks: list[L.Callback], loggers: list[Any]) -> L.Trainer:
    """Lightning's Trainer; what it refuses is reported with the key's name.

    Raises:
        UserError: a combination of ``trainer.`` keys that does not exist on this machine.
    """
    t = config.trainer
    options = {key: value for key, value in vars(t).items() if value is not None}
    options["accelerator"] = _accelerator(t.accelerator)
    # nothing reads uninitialised memory, and filling it costs a pass over it
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    if t.enable_progress_bar:
        callbacks = [*callbacks, SpikeProgressBar(refresh_rate=20)]
    try:
        trainer = L.Trainer(
            **options,
            default_root_dir=out,
            callbacks=[_without_empty_hooks(callback, L.Callback) for callback in callbacks],
            plugins=_plugins(),
            logger=loggers or False,
            gradient_clip_val=config.optim.grad_clip,
            gradient_clip_algorithm=config.optim.grad_clip_algorithm if config.optim.grad_clip else None,
            use_distributed_sampler=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise _lightning_refuses(error) from None
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise UserError(
            f"trainer.strategy={t.strategy} makes copies of this process, which would share its files and its tracker; "
            "use trainer.strategy=ddp"
        )
    settle_rank(trainer)
    return trainer


def _accelerator(wanted: str) -> str:
    """What Lightning may choose from: Apple's GPU has no 64-bit numbers, in which metrics are summed.

    Raises:
        UserError: it was asked for.
    """
    if not MPSAccelerator.is_available() or wanted not in ("auto", "gpu", "mps"):
        return wanted
    if wanted == "auto":
        return "cpu"
    raise UserError(
        f"trainer.accelerator={wanted}: Apple's GPU has no 64-bit numbers, which the metrics need; "
        "use trainer.accelerator=cpu"
    )
