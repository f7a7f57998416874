"""The LightningModule: one step of one learning rule, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torchmetrics import Metric

from ..errors import RunStopped
from ..events import Batch
from ..finite import Trouble, Watch, gradient_trouble, loss_trouble
from ..losses.loss import Loss
from ..losses.silent import silent_neuron_penalty
from ..losses.spike_cost import spike_cost
from ..metrics import SpikeMetrics, exact_sum
from ..network import Network, NetworkOutput
from ..operations import OperationMetrics
from ..running import data_of, logs_this_step


@dataclass(frozen=True)
class Optimisation:
    """How weights follow gradients.

    Args:
        name: ``adam``, ``adamw`` or ``sgd``.
        lr: learning rate at the start.
        weight_decay: the optimiser's weight decay.
        momentum: of ``sgd``.
        schedule: ``constant``, or ``cosine`` from ``lr`` to 0 over all steps of the run that are behind the warm-up.
        warmup_epochs: length of the linear rise from 0 to ``lr`` before that, in epochs; may be a fraction.
        delay_lr_factor: the learning rate of delays, in steps, is so many times ``lr``; their weight decay is 0.
        constants_lr_factor: the same for the learned constants of neurons.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: float = 0.0
    delay_lr_factor: float = 100.0
    constants_lr_factor: float = 1.0


class SpikingModule(L.LightningModule):
    """Trains a network by Lightning's automatic optimisation; the learning rule lives in the network's backward.

    Args:
        network: the spiking network with its rule.
        objective: the loss.
        optimisation: optimiser and schedule.
        silent_penalty: coefficient of the penalty that revives silent neurons (timing rule), 0 for none.
        spike_cost: what each decision spike of a hidden layer adds to the loss, 0 for none.
        classes: number of classes, 0 in a task without labels.
        until_fired: count silent neurons, spikes and predictions by spike count until all output neurons of a batch
            fired, as Kim et al.'s code does.
        config: the resolved configuration as plain containers, stored in every checkpoint.

    Attributes:
        stops_at_decision: run a test sample only to its first output spike; what comes later is not measured.
        started_from: what was taken over from another run before the first step; empty if nothing was.
    """

    def __init__(
        self,
        network: Network,
        objective: Loss,
        optimisation: Optimisation,
        silent_penalty: float = 0.0,
        spike_cost: float = 0.0,
        classes: int = 0,
        config: dict[str, Any] | None = None,
        until_fired: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.objective, self.optimisation = network, objective, optimisation
        self.silent_penalty, self.spike_cost = silent_penalty, spike_cost
        self.config, self.until_fired = config or {}, until_fired
        self.stops_at_decision = False
        self.started_from: dict[str, Any] = {}
        self.watch = Watch(network)
        sizes = [math.prod(layer.shape) for layer in network.spiking]
        self.train_metrics = SpikeMetrics(sizes, classes, shortens=until_fired)
        self.val_metrics = SpikeMetrics(sizes, classes, shortens=until_fired)
        self.test_metrics = SpikeMetrics(sizes, classes, shortens=until_fired)
        self.test_operations = OperationMetrics(len(sizes))

    def forward(self, batch: Batch) -> NetworkOutput:
        """The network's output for a batch, counted in the window that counts."""
        output: NetworkOutput = self.network(batch.events)
        return output.until_fired() if self.until_fired else output

    def loss(self, output: NetworkOutput, batch: Batch) -> Tensor:
        """The objective, without penalties."""
        return self.objective(output.spikes_TBN, output.times_TBN, batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; raises RunStopped when it is not finite, on a GPU not before somebody asks for numbers."""
        output: NetworkOutput = self(batch)
        loss = self.loss(output, batch)
        if _on_cpu(loss) and not math.isfinite(loss.item()):
            self._stop(loss_trouble(self.network), self.global_step)
        if not _on_cpu(loss):
            self.watch.notice(self.global_step, [loss.detach()], 0)
        self.train_metrics.remember(output, batch.label_B, loss.detach())
        if self._logs_this_step():
            self._log_step(loss, output, batch)
        if self.silent_penalty:
            loss = loss + self._silence(output)
        if self.spike_cost:
            assert output.decision_BL is not None  # an engine's output has it
            loss = loss + self.spike_cost * spike_cost(output.decision_BL)
        return loss

    def stop_if_not_finite(self) -> None:
        """Raise RunStopped when a GPU has seen a loss or gradient that is not finite; waits for it."""
        if found := self.watch.read():
            self._stop(*found)

    def _stop(self, trouble: Trouble, step: int) -> NoReturn:
        raise RunStopped(trouble.sentence(self.current_epoch, step))

    def _logs_this_step(self) -> bool:
        return logs_this_step(self.trainer)

    def _silence(self, output: NetworkOutput) -> Tensor | int:
        dense = [pair for pair in zip(self.network.spiking, output.layers, strict=True) if pair[0].weight.dim() == 2]
        return sum(
            silent_neuron_penalty(layer.weight, activity.silent_share_N, self.silent_penalty)
            for layer, activity in dense
        )

    def _log_step(self, loss: Tensor, output: NetworkOutput, batch: Batch) -> None:
        spikes = sum(activity.totals_TB.sum() for activity in output.layers) / len(batch.label_B)
        (optimizer,) = self.trainer.optimizers
        lr = optimizer.param_groups[0]["lr"]
        values = {"train/loss_step": loss.detach(), "train/spikes_per_sample_step": spikes, "train/lr": lr}
        self._log_now(values, self.global_step)

    def _log_now(self, values: dict[str, Any], step: int) -> None:
        """Log at once: Lightning would do it after the checkpoint of this step, which then would not cover it."""
        row = {name: float(value) for name, value in values.items()} | {"epoch": self.current_epoch}
        for logger in self.loggers:
            logger.log_metrics(row, step)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, and stop before one that is not finite reaches the weights (on a GPU: a checkpoint)."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = self._gradient_norm(parameters)
        if self._logs_this_step():
            self.stop_if_not_finite()
            self._log_now({"train/grad_norm_step": norm}, self.global_step)
        if gradient_clip_val is None or (_on_cpu(norm) and norm <= gradient_clip_val):
            return
        if gradient_clip_algorithm == "norm":
            clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        else:
            clip_grad_value_(parameters, gradient_clip_val)

    def _gradient_norm(self, parameters: list[Tensor]) -> Tensor:
        """The norm of all gradients: one number that answers in nearly all steps whether one of them is not finite."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not _on_cpu(gradients[0]):
            return self.watch.notice_gradients(self.global_step)
        norm = get_total_norm(gradients)
        if not math.isfinite(norm):
            if trouble := gradient_trouble(self.network):
                self._stop(trouble, self.global_step)
            norm = get_total_norm([gradient.double() for gradient in gradients])
        return norm

    def validation_step(self, batch: Batch, batch_idx: int) -> NetworkOutput:  # type: ignore[override]  # allows all
        """Add a batch to the validation metrics; callbacks see the output."""
        output: NetworkOutput = self(batch)
        self._measure(self.val_metrics, output, batch)
        return output

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        output = self.network(batch.events, True) if self.stops_at_decision else self(batch)
        self._measure(self.test_metrics, output, batch)
        self.test_operations.update(self.network, batch.events, output)

    def _measure(self, metrics: SpikeMetrics, output: NetworkOutput, batch: Batch) -> None:
        loss_B = self.objective(output.spikes_TBN, output.times_TBN, batch, "none")
        metrics.update(output, batch.label_B, [exact_sum(loss_B)])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics; there are none when the run goes on from here."""
        self.stop_if_not_finite()
        self.train_metrics.catch_up()
        if values := self._computed("train", self.train_metrics):
            self._log_now(values | self.network.learned_values(), self.global_step - 1)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics; the checkpoint is chosen by them."""
        self._log_split("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_split("test", self.test_metrics)
        self._log_split("test", self.test_operations)

    def _log_split(self, split: str, metrics: Metric) -> None:
        # already summed over processes: every rank logs the same numbers
        self.log_dict(self._computed(split, metrics), batch_size=1, rank_zero_only=False, sync_dist=False)

    @staticmethod
    def _computed(split: str, metrics: Metric) -> dict[str, Tensor]:
        values = {f"{split}/{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        return values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and the learning-rate schedule by step."""
        how = self.optimisation
        parameters = self._parameter_groups()
        if how.name == "sgd":
            optimizer = torch.optim.SGD(parameters, how.lr, momentum=how.momentum, weight_decay=how.weight_decay)
        else:
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[how.name]
            optimizer = kind(parameters, how.lr, weight_decay=how.weight_decay, fused=True)
        if how.schedule == "constant" and not how.warmup_epochs:
            return {"optimizer": optimizer}
        warmup_steps = round(how.warmup_epochs * self._epoch_steps())
        total_steps = self._total_steps() if how.schedule == "cosine" else None
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(warmup_steps, total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Weights and biases; then the delays and the constants of neurons that are learned, if there are any."""
        how, layers = self.optimisation, self.network.spiking
        delays = [layer.delay_steps for layer in layers if layer.delay_steps is not None]
        constants = [one for layer in layers if layer.learned for one in layer.learned.parameters()]
        rest = [p for p in self.network.parameters() if all(p is not own for own in (*delays, *constants))]
        groups: list[dict[str, Any]] = [{"params": rest}]
        delays = [delay for delay in delays if delay.requires_grad]
        for own, factor in ((delays, how.delay_lr_factor), (constants, how.constants_lr_factor)):
            if own:
                groups.append({"params": own, "lr": how.lr * factor, "weight_decay": 0.0})
        return groups

    def _epoch_steps(self) -> int:
        """Optimiser steps of an epoch.

        Not ``trainer.estimated_stepping_batches``: it makes Lightning drop the restored position of the loader
        (lightning issue 20550).
        """
        trainer = self.trainer
        batches, limit = len(data_of(trainer).train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return math.ceil(batches / trainer.accumulate_grad_batches)

    def _total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        epochs, most = self.trainer.max_epochs, self.trainer.max_steps
        steps = (epochs if epochs and epochs > 0 else 1) * self._epoch_steps()
        return max(1, steps if most < 0 else min(steps, most))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the configuration, so that a checkpoint is enough to rebuild the run."""
        checkpoint["config"] = self.config


def _on_cpu(tensor: Tensor) -> bool:
    """Whether its value is at hand: a GPU would have to be waited for."""
    return tensor.device.type == "cpu"


def learning_rate_factor(warmup_steps: int, total_steps: int | None) -> Callable[[int], float]:
    """The factor of the learning rate in each step, from 0.

    It is step / warm-up while it rises, then 1, or (1 + cos(π x)) / 2 where x goes from 0 at the end of the warm-up to
    1 at the last step (Loshchilov & Hutter 2017; Goyal et al. 2017 for the warm-up).

    Args:
        warmup_steps: steps of the linear rise.
        total_steps: steps of the run, behind which the cosine stays 0; None for a constant rate.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        if total_steps is None:
            return 1.0
        share = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        return (1 + math.cos(math.pi * min(share, 1.0))) / 2

    return factor
