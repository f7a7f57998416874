"""Spike-train matching in a picture: ``python -m app.report spike-trains RUNS… [out=docs/spike_trains.md]``.

For each rule, the setting with the best validation: loss over training, mean and standard deviation over trials, and
the spikes of one trial beside its target. Writes a Markdown file with a table, and the picture beside it (.png).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .. import markdown as md
from ..arguments import read_arguments, wants_help
from ..errors import UserError
from .cli import read_results, write
from .groups import Group, Spread, group, spread
from .results import Result, thin
from .tables import percent, short

TASK = "spike_trains"
WINDOW_STEPS = 2
"""A spike so many steps from its target counts as near."""
POINTS = 400


def main(argv: list[str]) -> int:
    """Read the runs, rebuild their networks, write table and picture."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=["out"], words="RUNS")
    out = Path(given.values.get("out", "docs/spike_trains.md"))
    if out.suffix != ".md":
        raise UserError(f"out={out}: the name must end with .md; the picture gets the same name with .png")
    groups = _best(group(result for result in read_results(given.words) if result.task == TASK), given.words)
    trains = {one.rule: [matched(result) for result in one.finished] for one in groups}
    write(out, _text(groups, trains, out.with_suffix(".png").name))
    _draw(groups, trains, out.with_suffix(".png"))
    print(f"{out}, {out.with_suffix('.png')}: {sum(len(one.finished) for one in groups)} runs")
    return 0


def _best(groups: Sequence[Group], sources: Sequence[str]) -> list[Group]:
    """The first setting of each rule with finished trials: groups come sorted by validation."""
    best: dict[str, Group] = {}
    for one in groups:
        if one.finished:
            best.setdefault(one.rule, one)
    if not best:
        raise UserError(f"no finished run of task={TASK} in {', '.join(sources)}: train one first")
    return list(best.values())


def matched(result: Result) -> tuple[Tensor, Tensor]:
    """What the run's best network fires, and what it should fire: 0/1 spikes [T, 1, N].

    Raises:
        UserError: the run has no checkpoint beside its log.
    """
    import torch

    from ..training.trained import load_trained

    folder = Path(result.run.source)
    if not (folder / "checkpoints").is_dir():
        raise UserError(f"{result.run.name}: there is no checkpoint in {folder}; give the folder of the runs")
    trained = load_trained(folder, [])
    batch = trained.data.first_validation_samples(1)
    assert batch.target_TBN is not None  # the task has no labels, but trains
    with torch.no_grad():
        return trained.module.eval()(batch).spikes_TBN, batch.target_TBN


def _text(groups: Sequence[Group], trains: dict[str, list[tuple[Tensor, Tensor]]], picture: str) -> str:
    rows = [[one.rule, str(len(one.finished)), *_row(one, trains[one.rule])] for one in groups]
    heading = ["rule", "trials", "loss", "exact", f"near (up to {WINDOW_STEPS} steps)", "missing", "too many"]
    return (
        "Target spikes that the best network by validation fires at the very step, or near it, or misses, and spikes "
        "that have no target, as shares of the target spikes; mean ± standard deviation over trials.\n\n"
        f"{md.table(heading, rows)}\n"
        f"![loss curves and matched rasters of {', '.join(one.rule for one in groups)}]({picture})\n"
    )


def _row(one: Group, trains: Sequence[tuple[Tensor, Tensor]]) -> list[str]:
    from ..landscape.spike_changes import spike_changes

    changes = [(spike_changes(target, output, WINDOW_STEPS), float(target.sum())) for output, target in trains]
    names = ("kept", "shifted", "removed", "created")
    shares = [spread(getattr(change, name) / total for change, total in changes) for name in names]
    return [short(one.spread("val", "loss")), *(percent(share) for share in shares)]


def _draw(groups: Sequence[Group], trains: dict[str, list[tuple[Tensor, Tensor]]], path: Path) -> None:
    from ..pictures import matching, save

    curves = {one.rule: [_point(x, value) for x, value in thin(one.curve("train/loss"), POINTS)] for one in groups}
    shown = {rule: (pairs[0][0][:, 0], pairs[0][1][:, 0]) for rule, pairs in trains.items()}
    trials, seed = {len(one.finished) for one in groups}, groups[0].finished[0].seed
    title = f"spike-train matching: mean and spread of {'/'.join(map(str, trials))} trials; below, seed {seed} "
    title += "(circles: target, ticks: spikes)"
    save(matching(curves, shown, title), path)


def _point(epoch: float, value: Spread) -> tuple[float, float, float]:
    return epoch, value.mean, value.std if value.n > 1 else 0.0
