"""Checkpoints of earlier versions go on as if nothing had changed."""

from pathlib import Path

import pytest
import torch

from tests.support.run_tools import checkpoint, resume, run

FORMER = {"EventDataModule": "DigitsDataModule"}
"""Each task had a data module of its own, under whose name Lightning stored the position in the data."""


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_version_goes_on_at_its_place_in_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("out=whole")
    run("out=cut", "trainer.max_epochs=1")
    path = Path("cut/checkpoints/last.ckpt")
    content = {FORMER.get(key, key): value for key, value in checkpoint("cut").items()}
    assert "DigitsDataModule" in content
    del content["format"]
    settings = content["config"]
    settings["engine"] = "reference" if settings["engine"] == "layerwise" else "auto"
    del settings["plugins"], settings["callbacks"], settings["neuron"]["reset"]
    torch.save(content, path)
    resume("cut", "trainer.max_epochs=2")
    assert checkpoint("cut")["EventDataModule"] == checkpoint("whole")["EventDataModule"]
    for name, weight in checkpoint("whole")["state_dict"].items():
        assert torch.equal(checkpoint("cut")["state_dict"][name], weight), name
