"""Trains on two processes and writes what each saw into the folder given; run by test_data_module.py."""

import json
import sys
from pathlib import Path

import lightning as L

from tests.support.numbered import Recorder, numbered_data


class Writer(Recorder):
    """Writes at the end of training, inside the process."""

    def on_validation_epoch_start(self):
        self.validated.clear()

    def on_train_end(self):
        content = {"seen": self.seen, "validated": self.validated}
        Path(sys.argv[1], f"rank{self.global_rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    trainer.fit(Writer(), datamodule=numbered_data(eval_batch_size=2))
