"""A network as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Config, from_dict
from ..data.base import EventDataModule
from ..errors import UserError
from ..resume.checkpoint import best_of, read_checkpoint
from .build import build_data, build_module, build_trainer, quiet
from .module import SpikingModule


@dataclass(frozen=True)
class Trained:
    """A trained network with its task.

    Args:
        path: the checkpoint.
        config: its settings.
        epochs: how long it was trained.
        module: network and loss, with the trained weights.
        data: the task's data module; nothing is loaded yet.
    """

    path: Path
    config: Config
    epochs: int
    module: SpikingModule
    data: EventDataModule

    def test(self, stops_at_decision: bool = False) -> tuple[dict[str, float], bool]:
        """The metrics of the test split, and whether this process is the one that tells them.

        Args:
            stops_at_decision: run each sample only to its first output spike; what comes later is not measured.
        """
        self.module.stops_at_decision = stops_at_decision
        trainer = build_trainer(self.config, self.config.folder, [], [])
        trainer.test(self.module, datamodule=self.data, verbose=False)
        values = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
        if stops_at_decision:
            kept = ("test/accuracy_first", "test/time_to_first_spike_steps")
            values = {key: value for key, value in values.items() if key in kept or key.startswith("test/decision_")}
        return values, trainer.is_global_zero


def load_trained(path: str | Path, overrides: Sequence[str] = (), untrained: bool = False) -> Trained:
    """Rebuild the network of a checkpoint.

    Args:
        path: a checkpoint, or the folder of a run, of which the best one is taken.
        overrides: ``key=value`` arguments that change its settings, such as ``data.root=``.
        untrained: give the network as it was before the first step; its weights are a function of the settings.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    path = best_of(path)
    content = read_checkpoint(path)
    config = from_dict(content["config"], overrides)
    quiet()
    module = build_module(config)
    data = build_data(config, module.network)
    if untrained and config.init != "uniform":
        raise UserError(f"ckpt={path}: with init={config.init} the first weights depend on data; leave epoch 0 out")
    if untrained:
        return Trained(path, config, 0, module, data)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError:
        raise UserError(f"ckpt={path}: its weights do not fit network={config.network}; leave network= out") from None
    return Trained(path, config, content["epoch"] + 1, module, data)
