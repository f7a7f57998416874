"""A callback of one's own: notes the norm of all weights after every few epochs.

python train.py plugins=[examples/my_callback.py] callbacks=[weight_norm] probes.norm_every=2
"""

from dataclasses import dataclass
from pathlib import Path

import lightning as L

from app.callbacks.registered import CALLBACKS, CallbackSettings, RunParts
from app.settings import setting


class NormFile(L.Callback):
    """Writes a line for each epoch that counts."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the norm."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0 and trainer.is_global_zero:
            norm = sum(float(p.detach().square().sum()) for p in pl_module.parameters()) ** 0.5
            with self.path.open("a") as file:
                file.write(f"{epoch},{norm:.6g}\n")


@CALLBACKS.register("weight_norm")
@dataclass(frozen=True)
class WeightNorm(CallbackSettings):
    """``weight_norm.csv`` in the run's folder: epoch and norm."""

    norm_every: int = setting(1, "epochs between two notes of the norm of the weights", ge=1)

    def callback(self, run: RunParts) -> L.Callback:
        """Made when the run is built."""
        return NormFile(run.out / "weight_norm.csv", self.norm_every)
