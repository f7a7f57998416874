"""The LightningDataModule that all tasks share: lazy splits, loaders, exact resuming, a fingerprint of the data."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

import lightning as L
import torch
from torch.utils.data import DataLoader

from ..errors import UserError
from ..events import Batch
from .augmentation import Augmentation, AugmentedDataset
from .checks import check_range
from .event_dataset import EventDataset
from .loader import TrainingLoader, evaluation_loader
from .sampler import EvaluationBatches, Position, TrainingBatches
from .task import Split, Task

LONGEST_WINDOW_STEPS = 2**15 - 1


class EventDataModule(L.LightningDataModule):
    """Loaders of event batches; the task delivers the samples.

    The test split is neither looked for nor read before it is asked for. Under DDP the Trainer needs
    ``use_distributed_sampler=False``: the samplers here know their rank.

    Args:
        task: what is learned.
        time_steps: T, the length of the window in steps.
        batch_size: B in training, on each process.
        eval_batch_size: the largest batch in validation and test.
        num_workers: worker processes of each loader; results do not depend on it.
        seed: of the training order, the validation split, augmentation and random tasks.
        augmentation: random changes of training samples, anew in every epoch; validation and test have none.

    Raises:
        UserError: what cannot work, with the key and the remedy.
    """

    def __init__(
        self,
        task: Task,
        *,
        time_steps: int | None = None,
        batch_size: int = 16,
        eval_batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        augmentation: Augmentation = Augmentation(),
    ) -> None:
        super().__init__()
        time_steps = task.usual_time_steps if time_steps is None else time_steps
        check_range("time_steps", time_steps, 1, LONGEST_WINDOW_STEPS)
        check_range("data.batch_size", batch_size, 1)
        check_range("data.eval_batch_size", eval_batch_size, 1)
        check_range("data.num_workers", num_workers, 0)
        check_range("seed", seed, 0)
        self.task, self.time_steps, self.seed, self.num_workers = task, time_steps, seed, num_workers
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.augmentation = augmentation
        self.train_set: EventDataset | None = None
        self.val_set: EventDataset | None = None
        self.test_set: EventDataset | None = None
        self.position = Position()
        for problem in task.problems(self):
            raise UserError(problem)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, known without loading."""
        shape: tuple[int, ...] = self.task.input_shape
        return shape

    @property
    def num_classes(self) -> int:
        """The number of output neurons that are needed, known without loading."""
        classes: int = self.task.num_classes
        return classes

    def prepare(self, split: Split) -> None:
        """Download and cache what a split needs; called on one process, and cheap when nothing is missing."""
        self.task.prepare(split, self.time_steps)

    def prepare_data(self) -> None:
        """Download and cache the split that the trainer is about to use."""
        testing = self.trainer is not None and self.trainer.state.fn == "test"
        self.prepare("test" if testing else "train")

    def setup(self, stage: str = "fit") -> None:
        """Load the split that the stage needs, once."""
        if stage == "test":
            self._test_samples()
        else:
            self._train_val_samples()

    def train_dataloader(self) -> TrainingLoader:
        """Shuffled batches; continues where ``load_state_dict`` left the position."""
        dataset, _ = self._train_val_samples()
        batches = self._training_batches(dataset)
        samples = AugmentedDataset(dataset, self.augmentation) if self.augmentation else dataset
        return TrainingLoader(samples, batches, self.position, self._epoch_batches, self.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """All validation samples, each once."""
        return self._evaluation_loader(self._train_val_samples()[1], "validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """All test samples, each once."""
        return self._evaluation_loader(self._test_samples(), "test")

    def first_validation_samples(self, samples: int, device: torch.device | str = "cpu") -> Batch:
        """The first validation samples, as many as there are up to a number, as one batch."""
        dataset = self._train_val_samples()[1]
        batch = dataset.__getitems__(list(range(min(samples, len(dataset)))))
        return self.transfer_batch_to_device(batch, torch.device(device), 0)

    def batches(self, split: Literal["train", "val", "test"]) -> int:
        """Batches of a split on this process; loads its samples if they are not loaded yet."""
        if split == "train":
            return len(self._training_batches(self._train_val_samples()[0]))
        dataset = self._test_samples() if split == "test" else self._train_val_samples()[1]
        return len(EvaluationBatches(len(dataset), self.eval_batch_size, *self._rank_and_world()))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch unless it is there already: Lightning would look through all its fields in every step."""
        if batch.label_B.device == device:
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved

    def state_dict(self) -> dict[str, Any]:
        """Where training stands in the data; restored by Lightning before its loops start."""
        return {
            "epoch": self.position.epoch,
            "batches": self.position.batches,
            "epoch_batches": self._epoch_batches(),
            "batch_size": self.batch_size,
            "world_size": self._rank_and_world()[1],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue training from a saved position; ignored when a checkpoint is only validated or tested.

        Raises:
            UserError: if the position is inside an epoch whose batches were cut otherwise.
        """
        if self.trainer is not None and self.trainer.state.fn != "fit":
            return
        epoch, batches = state_dict["epoch"], state_dict["batches"]
        batching = (state_dict["batch_size"], state_dict["world_size"])
        if batching != (self.batch_size, self._rank_and_world()[1]):
            if batches < state_dict["epoch_batches"]:
                raise UserError(
                    f"the checkpoint stands inside an epoch of batches of {batching[0]} on {batching[1]} processes: "
                    "resume with that data.batch_size and that number of trainer.devices, or from the end of an epoch."
                )
            epoch, batches = epoch + 1, 0
        self.position.epoch, self.position.batches, self.position.resumed = epoch, batches, True

    def fingerprint(self) -> str:
        """16 hex digits that identify the training and validation samples and their coding, on every machine.

        Loads these samples if they are not loaded yet; the test samples are not touched.
        """
        train_set, val_set = self._train_val_samples()
        kind = f"{type(self.task).__name__}DataModule"  # as when each task had a data module of its own
        content = [kind, self.time_steps, self.input_shape, train_set.checksum(), val_set.checksum()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def data_fingerprint(self) -> str:
        """16 hex digits that identify the data whatever the seed, the split and the fold: what trials have in common.

        Numbers of runs on different data must never be averaged, those of other splits of the same data may be.
        """
        samples = 0 if self.task.from_seed else self._samples_sum()
        content = [type(self.task).__name__, self.time_steps, self.input_shape, samples]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def _samples_sum(self) -> int:
        """A sum over all samples from which training and validation samples are drawn."""
        arrays = {id(one.arrays): one.arrays for one in self._train_val_samples()}
        return sum(one.samples_sum for one in arrays.values())

    def _train_val_samples(self) -> tuple[EventDataset, EventDataset]:
        if self.train_set is None or self.val_set is None:
            self.train_set, self.val_set = self.task.load_train_val(self.time_steps, self.seed)
        return self.train_set, self.val_set

    def _test_samples(self) -> EventDataset:
        if self.test_set is None:
            self.test_set = self.task.load_test(self.time_steps, self.seed)
        return self.test_set

    def _evaluation_loader(self, dataset: EventDataset, name: str) -> DataLoader[Batch]:
        rank, world_size = self._rank_and_world()
        self._check_share(dataset, world_size, name)
        batches = EvaluationBatches(len(dataset), self.eval_batch_size, rank, world_size)
        return evaluation_loader(dataset, batches, self.num_workers)

    def _rank_and_world(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _training_batches(self, dataset: EventDataset) -> TrainingBatches:
        rank, world_size = self._rank_and_world()
        self._check_share(dataset, world_size, "training")
        return TrainingBatches(len(dataset), self.batch_size, self.seed, rank, world_size)

    def _epoch_batches(self) -> int:
        """The batches that an epoch runs: Lightning stops earlier than the loader under ``limit_train_batches``."""
        if self.train_set is None:
            return 0
        batches = len(self._training_batches(self.train_set))
        return batches if self.trainer is None else int(min(batches, self.trainer.num_training_batches))

    @staticmethod
    def _check_share(dataset: EventDataset, world_size: int, name: str) -> None:
        if len(dataset) < world_size:
            raise UserError(
                f"{len(dataset)} {name} samples cannot be shared by {world_size} processes: "
                "set trainer.devices to 1 or use more samples (data.val_samples)."
            )
