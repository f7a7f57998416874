"""Train a spiking network: ``python train.py [config=<name or path>] [key=value …]``; ``--help-all`` lists all keys."""

from __future__ import annotations

from .config import info_text
from .errors import run_command


def main(argv: list[str]) -> int:
    """Config → data, module, callbacks, loggers → fit → test."""
    if (text := info_text(argv)) is not None:
        print(text)
        return 0

    from .training.processes import check_variables

    check_variables()
    from .training.build import build_run
    from .training.start import prepare
    from .training.summary import finish, heading, report

    run = build_run(prepare(argv))
    with run.opened():
        run.print(heading(run))
        with run.stop:
            run.trainer.fit(run.module, datamodule=run.data, ckpt_path=run.start.checkpoint)
            train_s = run.timer.time_elapsed()  # before testing, which restores the timer too
            run.print("\nReading the test split, once, with the best checkpoint by validation")
            run.test()
            summary = finish(run, train_s)
        run.print(report(summary, run.start.out))
    return 0


if __name__ == "__main__":
    run_command(main)
