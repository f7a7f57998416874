"""DataLoaders over an EventDataset: no collating, own generators, and a training loader that resumes exactly."""

from __future__ import annotations

import io
import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.queues import Queue
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..errors import RunStopped, UserError
from ..events import Batch
from .augmentation import AugmentedDataset
from .event_dataset import EventDataset
from .sampler import EvaluationBatches, Position, TrainingBatches

WORKER_S = 120.0
"""So long may a worker process take for a batch."""


def _as_gathered(batch: Batch) -> Batch:
    """The collate function: the data set has already gathered the batch."""
    return batch


class _Packer(pickle.Pickler):
    """Pickles tensors by their numbers; PyTorch's own way hangs where /dev/shm is small or full."""

    def reducer_override(self, value: Any) -> Any:
        return (torch.from_numpy, (value.numpy(),)) if isinstance(value, torch.Tensor) else NotImplemented


def _packed(batch: Batch) -> bytes:
    """The collate function of worker processes."""
    buffer = io.BytesIO()
    _Packer(buffer, pickle.HIGHEST_PROTOCOL).dump(batch)
    return buffer.getvalue()


def _delivered(batches: Callable[[], Iterable[Batch | bytes]]) -> Iterator[Batch]:
    """What the workers packed, in pinned memory where there is a GPU, to which it then moves without waiting.

    PyTorch's own pinning passes over what is packed.

    Raises:
        RunStopped: the workers cannot be started or do not answer.
    """
    pins = torch.cuda.is_available()
    try:
        for batch in batches():
            whole: Batch = pickle.loads(batch) if isinstance(batch, bytes) else batch
            yield whole.pin_memory() if pins else whole
    except OSError as error:
        raise _worker_stop(error) from None
    except RuntimeError as error:
        raise_worker_failure(error)
        raise


def check_room(num_workers: int) -> None:
    """Refuse worker processes where there is no room for what they need: queues, with their locks in shared memory.

    Raises:
        UserError: names the key.
    """
    try:
        queues: list[Queue[object]] = (
            [multiprocessing.Queue() for _ in range(2 * (num_workers + 1))] if num_workers else []
        )  # two loaders
        for queue in queues:
            queue.close()
    except OSError as error:
        raise UserError(
            f"data.num_workers={num_workers}: no shared memory for these processes ({error.strerror}); make room in "
            "/dev/shm, or use data.num_workers=0"
        ) from None


def raise_worker_failure(error: RuntimeError) -> None:
    """Raise RunStopped if an error says that a worker was lost.

    PyTorch raises it wherever the program is; what is closed on the way, such as the archive of a checkpoint, may fail
    in turn, and the first error is then the context of the last.
    """
    first: BaseException | None = error
    while first is not None:
        if str(first).startswith(("DataLoader worker", "DataLoader timed out")):
            raise _worker_stop(first) from None
        first = first.__context__


def _worker_stop(error: BaseException) -> RunStopped:
    said = " ".join(str(error).split())[:200]
    return RunStopped(
        f"a process that loads data has failed ({said}); was it killed, is memory or /dev/shm full? "
        "go on with ckpt=last data.num_workers=0"
    )


def _loader_options(num_workers: int) -> dict[str, Any]:
    """Options of every loader; the own generator keeps iterating from drawing a seed from the global one."""
    return {
        "num_workers": num_workers,
        "collate_fn": _packed if num_workers else _as_gathered,
        "timeout": WORKER_S if num_workers else 0.0,
        "generator": torch.Generator(),
        "persistent_workers": num_workers > 0,
    }


def evaluation_loader(dataset: EventDataset, batches: EvaluationBatches, num_workers: int) -> DataLoader[Batch]:
    """A loader in fixed order."""
    return EvaluationLoader(dataset, batch_sampler=batches, **_loader_options(num_workers))


class EvaluationLoader(DataLoader[Batch]):
    """Delivers what its processes have packed, or says why they do not."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return _delivered(super().__iter__)


class TrainingLoader(DataLoader[Batch]):
    """Delivers epoch after epoch, each pass the next one, and keeps count in a :class:`Position` that others save.

    Args:
        dataset: the training samples.
        batches: which samples make which batch.
        position: where training stands; shared with the data module, which saves and restores it.
        epoch_batches: the number of batches that an epoch really runs (fewer than ``len(self)`` when it is limited);
            read when a pass starts, since Lightning does not know it earlier.
        num_workers: worker processes; the batches do not depend on it.
    """

    def __init__(
        self,
        dataset: EventDataset | AugmentedDataset,
        batches: TrainingBatches,
        position: Position,
        epoch_batches: Callable[[], int],
        num_workers: int,
    ) -> None:
        super().__init__(dataset, batch_sampler=batches, **_loader_options(num_workers))
        self.batches = batches
        self.position = position
        self.epoch_batches = epoch_batches

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator: Lightning makes iterators before it is ready, and nothing may happen before the first next().
        self.position.start_pass(self.epoch_batches())
        self.batches.epoch, self.batches.first_batch = self.position.epoch, self.position.batches
        for batch in _delivered(super().__iter__):
            self.position.batches += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Empty: the data module saves the position. Only tells Lightning that resuming in mid epoch works."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore, see :meth:`state_dict`."""
