"""Resuming and sharing, with and without Lightning. Labels are sample numbers, so that batches show their samples."""

import json
import subprocess
import sys
import warnings
from itertools import chain, islice

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from app.data.base import EventDataModule
from app.errors import UserError
from tests.support import ROOT
from tests.support.numbered import TRAIN, VAL, Recorder, numbered_data


def labels(batches) -> list[list[int]]:
    return [batch.label_B.tolist() for batch in batches]


def epochs(data: EventDataModule, count: int) -> list[list[list[int]]]:
    loader = data.train_dataloader()
    return [labels(loader) for _ in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_pass_is_the_next_epoch(workers):
    passes = epochs(numbered_data(num_workers=workers), 3)
    assert passes == epochs(numbered_data(), 3)
    assert all(sorted(chain(*batches)) == list(range(TRAIN)) for batches in passes)
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("resumed_workers", [0, 2])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batches", [0, 4, 6, 7, 11])
def test_a_restored_position_continues_exactly(workers, resumed_workers, batches):
    whole = list(chain(*epochs(numbered_data(), 3)))
    data = numbered_data(num_workers=workers)
    loader = data.train_dataloader()
    seen = labels(islice(chain.from_iterable(loader for _ in range(3)), batches))
    state = data.state_dict()
    other = numbered_data(num_workers=resumed_workers)
    other.load_state_dict(state)
    loader = other.train_dataloader()
    seen += labels(chain.from_iterable(loader for _ in range(3)))
    assert seen[: len(whole)] == whole
    assert len(seen) >= len(whole)


def test_global_random_numbers_are_left_alone():
    data = numbered_data()
    before = torch.get_rng_state()
    list(data.train_dataloader()), list(data.val_dataloader()), list(data.test_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_batches_may_be_larger_and_come_in_order():
    assert labels(numbered_data().val_dataloader()) == [list(range(VAL))]
    assert labels(numbered_data(eval_batch_size=5).val_dataloader()) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert list(chain(*labels(numbered_data(eval_batch_size=4, num_workers=1).test_dataloader()))) == list(range(11))


def test_other_batches_resume_only_at_the_end_of_an_epoch():
    data = numbered_data()
    inside = islice(data.train_dataloader(), 4)
    list(inside)
    with pytest.raises(UserError, match=r"batches of 4 on 1 processes.*data\.batch_size"):
        numbered_data(batch_size=8).load_state_dict(data.state_dict())
    data = numbered_data()
    epochs(data, 2)
    larger = numbered_data(batch_size=8)
    larger.load_state_dict(data.state_dict())
    assert epochs(larger, 1)[0] == epochs(numbered_data(batch_size=8), 3)[2]


class Crash(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def fit(folder, workers=0, crash_after=None, resume=False, every=1, **options):
    """Train, and return the batches that the model saw."""
    checkpoint = ModelCheckpoint(dirpath=folder, save_last=True, every_n_train_steps=every, save_top_k=0)
    crash = [Crash(crash_after)] if crash_after else []
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", callbacks=[checkpoint, *crash], **quiet, **options)
    model = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trainer.fit(
                model, datamodule=numbered_data(num_workers=workers), ckpt_path=folder / "last.ckpt" if resume else None
            )
        except RuntimeError as error:
            if "crash" not in str(error):
                raise
    return model.seen


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("options", "crash_after", "every"),
    [
        ({"max_epochs": 3}, 8, 1),
        ({"max_epochs": 3}, 13, 1),
        ({"max_epochs": 3}, 9, 6),
        ({"max_steps": 17}, 7, 1),
        ({"max_epochs": 3, "limit_train_batches": 4}, 6, 1),
        ({"max_epochs": 3, "limit_train_batches": 4}, 9, 1),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 5, 3),
    ],
    ids=["mid epoch", "last batch", "earlier checkpoint", "max_steps", "limit: mid", "limit: last", "limit: share"],
)
def test_interrupted_training_equals_uninterrupted(tmp_path, workers, options, crash_after, every):
    whole = fit(tmp_path / "whole", **options)
    epoch_batches = len({index for _, index, _ in whole})
    assert len(whole) == options.get("max_steps", 3 * epoch_batches)
    before = fit(tmp_path / "cut", workers, crash_after, every=every, **options)
    after = fit(tmp_path / "cut", workers, resume=True, every=every, **options)
    saved = (crash_after - 1) // every * every
    assert len(before) == crash_after > saved > 0
    assert before[:saved] + after == whole


def test_testing_a_checkpoint_does_not_move_the_position(tmp_path):
    fit(tmp_path, max_epochs=1)
    data = numbered_data()
    trainer = L.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", enable_model_summary=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.validate(Recorder(), data, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert (data.position.epoch, data.position.batches, data.position.resumed) == (0, 0, False)


def test_too_few_samples_for_the_processes_are_refused(monkeypatch):
    data = numbered_data()
    monkeypatch.setattr(data, "_rank_and_world", lambda: (0, 11))
    assert len(data.train_dataloader()) == len(data.test_dataloader()) == 1
    with pytest.raises(UserError, match="10 validation samples cannot be shared by 11 processes"):
        data.val_dataloader()


@pytest.mark.slow
def test_two_processes_share_the_samples(tmp_path):
    """In a child process, since ddp_fork must not fork one in which threads have run."""
    command = [sys.executable, "-m", "tests.support.two_processes", tmp_path]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert sorted(chain(*(rank["validated"] for rank in ranks))) == list(range(VAL))
    assert [len(batch) for _, _, batch in ranks[0]["seen"]] == [len(batch) for _, _, batch in ranks[1]["seen"]]
    for epoch in range(2):
        shares = [set(chain(*(batch for e, _, batch in rank["seen"] if e == epoch))) for rank in ranks]
        assert [len(share) for share in shares] == [TRAIN // 2, TRAIN // 2]
        assert not shares[0] & shares[1]
