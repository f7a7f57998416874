"""The W&B workspace: refused in one sentence without its package or with a wrong name; built where the package is."""

import pytest

from app.errors import UserError
from app.report import workspace


def test_a_project_without_an_entity_is_refused():
    with pytest.raises(UserError, match="give ENTITY/PROJECT"):
        workspace.main(["antlr-snn"])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match="pip install wandb-workspaces"):
        workspace.main(["team/antlr-snn", "--dry-run"])


def test_it_is_built_without_a_server(capsys):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    assert workspace.main(["team/antlr-snn", "task=nmnist", "readout=count", "--dry-run"]) == 0
    assert "nmnist: rules compared: 4 sections, 15 panels; nothing was sent" in capsys.readouterr().out
    built = workspace.build("team", "antlr-snn", "nmnist", "accuracy_count")
    assert built.sections[0].panels[0].groupby_rangefunc == "stddev"
    assert built.sections[1].panels[0].y == "test/accuracy_count"
