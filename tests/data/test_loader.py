"""Where there is a GPU every batch comes in pinned memory, whoever has prepared it."""

import pytest
import torch

from tests.support.numbered import numbered_data


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("is_there", [True, False])
def test_batches_are_pinned_where_there_is_a_gpu(workers, is_there, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    data = numbered_data(num_workers=workers)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            own = [batch.events.steps_E, batch.events.neurons_E, batch.events.offsets_B1, batch.label_B]
            assert [id(one) for one in pinned[-4:]] == [id(one) for one in own] * is_there
    assert bool(pinned) == is_there
