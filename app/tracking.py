"""Weights & Biases: the only file that imports wandb. A run is stored on disk by default and needs no server."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from .config import Config
from .config.environment import agent_run
from .files import replacing
from .notice import warn
from .run_files import ID

FLUSH_SECONDS = 1.0
"""A killed run loses at most so much of its log (wandb's own default is 15 s)."""
START_SECONDS = 30.0
"""How long a server may take to answer at the start."""
ANSWER_SECONDS = 30.0
"""How long W&B's service may take to accept numbers; one that has been stopped would hold training for good."""
FINISH_SECONDS = 60.0
"""How long the end of a run waits until everything is sent; what is not, is on the disk (wandb's own default: ever)."""

PER_CLASS, TABLE = "/class", "per class"
"""Numbers of a class: a table at the end, not a chart for each."""

Rows = Callable[[], Iterable[tuple[int, Mapping[str, Any]]]]


class RunLogger(WandbLogger):
    """A W&B logger that never stops training, with one row of history for each step, as in ``metrics.csv``.

    Every session of a run begins with the rows of ``metrics.csv``, so that its log is complete without those of the
    sessions before, which may have lost their last seconds or hold steps that were run again. If W&B's service fails,
    a new session is opened once; if that fails too, the run goes on without W&B.

    Args:
        rows: gives the rows of ``metrics.csv`` with their steps, as they are when it is called.
        **options: for WandbLogger.
    """

    def __init__(self, rows: Rows, **options: Any) -> None:
        super().__init__(**options)
        self._wandb_init.pop("anonymous", None)  # Lightning 2.6 passes what wandb 0.31 warns of
        self.rows = rows
        self._failures = 0

    def open(self) -> None:
        """Start the session; raises what wandb raises. Lightning would take up a run that is dead but still global."""
        import wandb

        self._experiment = experiment = wandb.init(**self._wandb_init)
        experiment.define_metric("trainer/global_step")
        experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        assert self.save_dir is not None  # the run's folder
        for link in Path(self.save_dir, "wandb").glob("*/logs/debug-core.log"):
            link.unlink(missing_ok=True)  # it points into the user's home
        for step, row in self.rows():
            values = {name: float(value) for name, value in row.items() if PER_CLASS not in name}
            experiment.log({**values, "trainer/global_step": step}, step=step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add numbers or media to the row of a step, or to the newest row, which wandb would otherwise end."""
        metrics = {name: value for name, value in metrics.items() if PER_CLASS not in name}
        if step is None:
            self._guard(lambda: self.experiment.log(metrics, step=self.experiment.step))
        else:
            self._guard(lambda: self.experiment.log({**metrics, "trainer/global_step": step}, step=step))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        """Add pictures to the row of a step."""
        self._guard(lambda: WandbLogger.log_image(self, key, images, step, **options))

    @rank_zero_only
    def close(self, summary: Mapping[str, Any], exit_code: int) -> None:
        """Store the final numbers, those of the classes as one table, and end the session."""
        import wandb

        def finish() -> None:
            self.experiment.summary.update({k: v for k, v in summary.items() if PER_CLASS not in k})
            if table := per_class_table(summary):
                self.experiment.log({TABLE: wandb.Html(table, inject=False)}, step=self.experiment.step)
            folder, began_s = Path(self.experiment.dir).parent, time.monotonic()
            self.experiment.finish(exit_code=exit_code)
            _close_service()  # here, under guard: at Python's exit wandb would wait for its end without limit
            if time.monotonic() - began_s >= FINISH_SECONDS:
                how = f"wandb sync --no-skip-online {os.path.relpath(folder)}"
                warn(f"W&B did not take everything within {FINISH_SECONDS:.0f} s; send the rest later: {how}")

        self._guard(finish, FINISH_SECONDS + ANSWER_SECONDS)

    def finalize(self, status: str) -> None:
        """End the session when the run was stopped; a later one may go on with it."""
        if status == "failed":
            self.close({}, exit_code=1)

    def _guard(self, action: Callable[[], None], limit_s: float = ANSWER_SECONDS) -> None:
        if self._failures > 1:
            return
        try:
            with _service_ends_after(limit_s):
                action()
        except Exception as error:
            self._failures += 1
            self._reopen(error, action)

    def _reopen(self, error: Exception, action: Callable[[], None]) -> None:
        self._experiment = None
        self._wandb_init["mode"] = "offline"
        with _service_ends_after(ANSWER_SECONDS):
            _close_service()
        if self._failures > 1:
            warn(f"W&B failed again ({_reason(error)}); going on without it, metrics.csv is complete")
            return
        warn(f"W&B failed ({_reason(error)}); going on with a new offline session of the run")
        self._guard(self.open)
        self._guard(action)


def run_logger(
    config: Config, settings: dict[str, Any], origin: Mapping[str, str], out: Path, rows: Rows
) -> RunLogger | None:
    """The W&B logger of a run, or None when tracking is disabled or cannot start: tracking never stops training.

    Task, rule, loss and seed are in the W&B config, group and tags, so that methods can be compared. No console output,
    environment, machine description, host name or file path is stored.

    Args:
        config: the run's configuration.
        settings: the same as plain containers.
        origin: what makes the run: ``code``, ``data``, ``engine`` and ``device``, as in ``config.yaml``.
        out: the run's folder; the id in ``out/wandb_id`` makes a resumed run go on as the same W&B run.
        rows: gives the rows of ``metrics.csv``: what the run has logged before it was resumed, and since.
    """
    if config.tracking.mode == "disabled" or rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # a function
        return None
    mode = config.tracking.mode
    if mode == "online" and not _logged_in():
        warn("W&B: not logged in, the run is stored offline; use 'wandb login' before or 'wandb sync' later")
        mode = "offline"
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            logger = _logger(config, settings, origin, out, attempt, rows)
            with _service_ends_after(START_SECONDS + ANSWER_SECONDS):
                logger.open()
            return logger
        except Exception as error:
            _close_service()  # it holds the run's id
            then = "the run is stored offline" if attempt == "online" else "metrics.csv is complete without it"
            warn(f"W&B cannot start {attempt} ({_reason(error)}); {then}")
    return None


@contextmanager
def _service_ends_after(limit_s: float) -> Iterator[None]:
    """Kill wandb's service if it holds up the block for too long, so that the block fails and all can go on."""
    watch = threading.Timer(limit_s, _kill_service)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _kill_service() -> None:
    import wandb

    with suppress(Exception):  # another version of wandb may keep its process elsewhere
        connection: Any = wandb.setup()._connection
        connection._proc._process.kill()


def _close_service() -> None:
    """End wandb's service, which the next session starts anew."""
    import wandb

    with suppress(Exception):  # the service that it wants to close may have gone
        wandb.teardown()


def _logger(
    config: Config, settings: dict[str, Any], origin: Mapping[str, str], out: Path, mode: str, rows: Rows
) -> RunLogger:
    import wandb

    os.environ["WANDB_DATA_DIR"] = str(out / "wandb" / "data")  # artifacts stay in the run's folder
    os.environ["WANDB_CACHE_DIR"] = str(out / "wandb" / "cache")  # and so does the log of wandb's service
    logging.raiseExceptions = False  # on a full disk wandb's own log would print tracebacks
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # statistics about wandb itself, which hold up the end of a run
    (out / "wandb" / "data").mkdir(parents=True, exist_ok=True)
    shown = {
        key: value for key, value in settings.items() if key not in ("out", "ckpt", "init_from", "tracking", "config")
    }
    shown["data"] = {key: value for key, value in settings["data"].items() if key not in ("root", "cache")}
    return RunLogger(
        rows,
        mode=mode,
        save_dir=out,
        id=_run_id(out),
        name=config.tracking.name,
        project=config.tracking.project,
        entity=config.tracking.entity,
        group=config.tracking.group,
        tags=[config.task, config.rule, *config.tracking.tags],
        notes=config.tracking.notes,
        config={
            **shown,
            "code_version": origin.get("code"),
            "data_fingerprint": origin.get("data"),
            "runs_on": {what: origin.get(what) for what in ("engine", "device")},
        },
        settings=wandb.Settings(
            console="off",
            host="",  # wandb would ask the machine for its name
            program="train.py",  # not where it lies
            silent=True,
            disable_git=True,
            save_code=False,
            init_timeout=START_SECONDS,
            finish_timeout=FINISH_SECONDS,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
        ),
    )


def per_class_table(summary: Mapping[str, Any]) -> str:
    """The numbers of each class of a summary as a table in HTML; empty if there are none.

    Not a ``wandb.Table``, whose log names the folder that it was written to.
    """
    found: dict[int, dict[str, float]] = {}
    for name, value in summary.items():
        if match := re.fullmatch(r"(.+)/class(\d+)/(.+)", name):
            found.setdefault(int(match[2]), {})[f"{match[1]} {match[3]}"] = value
    if not found:
        return ""
    columns = sorted({column for values in found.values() for column in values})
    head = "".join(f"<th>{column}</th>" for column in ("class", *columns))
    body = "".join(
        f"<tr><th>{label}</th>{''.join(f'<td>{_cell(values.get(column))}</td>' for column in columns)}</tr>"
        for label, values in sorted(found.items())
    )
    style = "font:14px sans-serif;border-spacing:16px 4px;text-align:right"
    return f'<meta name="color-scheme" content="light dark"><table style="{style}"><tr>{head}</tr>{body}</table>'


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def finish(logger: RunLogger | None, summary: dict[str, Any]) -> None:
    """Store the final numbers and close the run."""
    if logger is not None:
        logger.close(summary, exit_code=0)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _run_id(out: Path) -> str:
    """The run's W&B id: made once, then read, so that a resumed run goes on under the same id."""
    path = out / ID
    known = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not known:
        known = agent_run() or secrets.token_hex(4)  # of a sweep, W&B itself names the run
        with replacing(path) as file:
            file.write(known)
    return known


def _logged_in() -> bool:
    """Whether wandb knows a key; asks nobody."""
    import wandb

    try:
        return wandb.login(prompt=False, verify=False)
    except Exception as error:  # a key that cannot be one
        warn(f"W&B: {_reason(error)}")
        return False
