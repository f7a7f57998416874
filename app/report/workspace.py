"""The comparison as a W&B workspace: ``python -m app.report workspace ENTITY/PROJECT [task=mnist] [readout=count]``.

Runs are grouped by rule: learning curves with mean and standard deviation, accuracy against spikes, spikes and silence
of each layer, settings side by side. Needs ``pip install wandb-workspaces`` (0.4.13 was used) and ``wandb login``; it
is no dependency of this project. ``--dry-run`` builds the workspace, which checks every panel, and sends nothing.
"""

from __future__ import annotations

from typing import Any

from ..arguments import read_arguments, wants_help
from ..errors import UserError

LAYERS = 2
LAYER_METRICS = ("spikes_per_sample", "silent_share", "dead_share")


def main(argv: list[str]) -> int:
    """Build the workspace and save it on the server."""
    if wants_help(argv):
        print(__doc__)
        return 0
    given = read_arguments(argv, keys=("task", "readout"), flags=["dry-run"], words="ENTITY/PROJECT")
    task, readout = given.values.get("task", "mnist"), given.values.get("readout", "first")
    if len(given.words) != 1 or given.words[0].count("/") != 1:
        raise UserError(f"{' '.join(given.words) or 'nothing'}: give ENTITY/PROJECT, for example your-team/antlr-snn")
    if readout not in ("first", "count"):
        raise UserError(f"readout={readout} must be first or count")
    (project,) = given.words
    entity, _, name = project.partition("/")
    workspace = build(entity, name, task, f"accuracy_{readout}")
    panels = sum(len(section.panels) for section in workspace.sections)
    if "dry-run" in given.flags:
        print(f"{workspace.name}: {len(workspace.sections)} sections, {panels} panels; nothing was sent")
        return 0
    try:
        workspace.save()
    except Exception as error:  # the client raises errors of its own, of requests and of the transport
        raise UserError(f"{project} cannot be written ({error}); check the name and 'wandb login'") from None
    print(workspace.url)
    return 0


def build(entity: str, project: str, task: str, accuracy: str) -> Any:
    """The workspace; nothing is sent.

    Args:
        entity: user or team.
        project: of the runs.
        task: runs of other tasks are filtered out.
        accuracy: the metric that is drawn, ``accuracy_first`` or ``accuracy_count``.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise UserError("wandb-workspaces is not installed; 'pip install wandb-workspaces' brings it") from None

    def curves(*metrics: str) -> list[Any]:
        grouping = {"groupby": "config.rule", "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
        return [wr.LinePlot(title=metric, x="epoch", y=[metric], **grouping) for metric in metrics]

    def against(cost: str) -> Any:
        return wr.ScatterPlot(title=f"{accuracy} for {cost}", x=f"test/{cost}", y=f"test/{accuracy}")

    def searched(*keys: str) -> Any:
        ends = [*(wr.Config(key) for key in keys), wr.SummaryMetric(f"test/{accuracy}")]
        columns = [wr.ParallelCoordinatesPlotColumn(metric=end) for end in ends]
        return wr.ParallelCoordinatesPlot(columns=columns)

    cost = [against("decision_spikes"), against("spikes_per_sample")]
    layers = [f"val/layer{k}/{metric}" for k in range(1, LAYERS + 1) for metric in LAYER_METRICS]
    sections = {
        "Learning": curves(f"val/{accuracy}", "val/loss", "train/loss"),
        "What the accuracy costs": [*cost, *curves("val/decision_spikes", "val/time_to_first_spike_steps")],
        "Layers": curves(*layers),
        "Settings": [searched("optim.lr", "optim.grad_clip"), wr.RunComparer(diff_only=True)],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{task}: rules compared",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        runset_settings=ws.RunsetSettings(filters=[ws.Config("task") == task], groupby=[ws.Config("rule")]),
    )
