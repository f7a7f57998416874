"""What a run says on the screen and leaves behind: the heading, the table at the end, ``summary.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import tracking
from ..best import best_validation, measure_of
from ..files import replacing
from ..operations import size
from ..resume.checkpoint import read_checkpoint
from ..run_files import CHECKPOINTS, CONFIG, LANDSCAPE, METRICS, PICTURES, RASTER, SUMMARY, WANDB, read_metrics
from ..version import code_version
from .build import Run
from .start_from import started_words

ROWS = (
    ("accuracy by first spike", "accuracy_first", "{:.2%}"),
    ("accuracy by spike count", "accuracy_count", "{:.2%}"),
    ("loss", "loss", "{:.4g}"),
    ("spikes per sample", "spikes_per_sample", "{:.1f}"),
    ("decision spikes per sample", "decision_spikes", "{:.1f}"),
    ("synaptic operations per sample", "synaptic_operations", "{:,.0f}"),
    ("synaptic operations until decision", "decision_synaptic_operations", "{:,.0f}"),
    ("time to first output spike (steps)", "time_to_first_spike_steps", "{:.1f}"),
)


def heading(run: Run) -> str:
    """What is about to be trained, in two lines."""
    start, c = run.start, run.start.config
    begun = f"{started_words(run.module.started_from)}\n" if run.module.started_from and not start.checkpoint else ""
    went_on = f", going on from {start.checkpoint} at step {start.step}" if start.checkpoint else ""
    parameters = sum(p.numel() for p in run.module.network.parameters())
    return (
        f"{c.task}: {'-'.join(c.layers)} ({parameters:,} parameters), T = {c.time_steps}, rule {c.rule}, "
        f"loss {c.loss}, seed {c.seed}{went_on}\n"
        f"{begun}engine {run.runs_on['engine']} on {run.runs_on['device']}, writing to {start.out}"
    )


def finish(run: Run, train_s: float) -> dict[str, Any]:
    """Write ``summary.json``, hand the summary to W&B and close it.

    Args:
        run: the run after its test.
        train_s: seconds of training and validation, over all sessions of the run.

    Returns:
        the test metrics as plain numbers under ``test/…``, the constants that the tested network has learned under
        ``learned/…``, the validation metrics of the best epoch under
        ``best/val/…``, ``best_epoch`` (epochs trained when the best checkpoint was written, null without one),
        ``steps``, ``train_s``, and what the run was.
    """
    metrics = {key: float(value) for key, value in run.trainer.callback_metrics.items() if key.startswith("test/")}
    metrics |= {key: float(value) for key, value in run.module.network.learned_values().items()}
    c, out = run.start.config, run.start.out
    summary = {
        "task": c.task,
        "rule": c.rule,
        "loss": c.loss,
        "seed": c.seed,
        **dict(sorted(metrics.items())),
        **_best_values(run),
        **{name: getattr(size(run.module.network), name) for name in ("footprint_bytes", "connection_sparsity")},
        "best_epoch": read_checkpoint(Path(run.chosen_path))["epoch"] + 1 if run.chosen_path else None,
        "steps": run.trainer.global_step,
        "train_s": round(train_s, 3),
        "code_version": code_version(),
        "data_fingerprint": run.origin.get("data"),
        **run.runs_on,
        **({"init_from": run.module.started_from} if run.module.started_from else {}),
    }
    if run.trainer.is_global_zero:
        with replacing(out / SUMMARY) as file:
            file.write(json.dumps(summary, indent=2) + "\n")
        shown = {name: value for name, value in run.module.started_from.items() if name != "file"}
        tracking.finish(run.wandb, summary | ({"init_from": shown} if shown else {}))
    return summary


def _best_values(run: Run) -> dict[str, float]:
    """The validation metrics of the best epoch, from the table on the disk, where everybody else will look for them."""
    run.metrics.save()
    path, c = run.start.out / METRICS, run.start.config
    rows = read_metrics(path)[0] if run.trainer.is_global_zero and path.exists() else []
    best = best_validation(rows, measure_of(c.has_labels, str(c.readout)))
    return {f"best/val/{name}": value for name, value in sorted(best.items()) if name != "epoch"}


def metrics_table(values: dict[str, float], split: str = "test") -> str:
    """Accuracy, spikes and decision of a split, and a line for each layer, as text."""
    prefix = f"{split}/"
    lines = [
        f"  {label:36}{pattern.format(values[prefix + key])}" for label, key, pattern in ROWS if prefix + key in values
    ]
    k = 1
    while f"{prefix}layer{k}/spikes_per_sample" in values:
        layer = {key: values[f"{prefix}layer{k}/{key}"] for key in LAYER_KEYS}
        spikes, until, silent, dead = layer.values()
        lines.append(
            f"  {f'layer {k}':36}{spikes:.1f} spikes per sample, {until:.1f} until the decision; "
            f"{silent:.0%} of neurons silent, {dead:.0%} in every sample"
        )
        own = f"learned/layer{k}/"
        if learned := [f"{key.removeprefix(own)} {values[key]:.4g}" for key in values if key.startswith(own)]:
            lines.append(f"  {f'layer {k} has learned':36}{', '.join(learned)}")
        k += 1
    return "\n".join(lines)


LAYER_KEYS = ("spikes_per_sample", "decision_spikes", "silent_share", "dead_share")


def report(summary: dict[str, Any], out: Path) -> str:
    """The end of a run on the screen."""
    best = f", best epoch {summary['best_epoch']}" if summary["best_epoch"] else ""
    names = (CONFIG, METRICS, SUMMARY, f"{CHECKPOINTS}/", RASTER, f"{PICTURES}/", f"{LANDSCAPE}/", f"{WANDB}/")
    files = ", ".join(name for name in names if (out / name).exists())
    head = f"{summary['task']}, {summary['rule']} rule, test split{best}, trained in {summary['train_s']:.1f} s"
    return f"\n{head}\n{metrics_table(summary)}\n\n{out}: {files}"
