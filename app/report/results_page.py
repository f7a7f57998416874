"""Write docs/RESULTS.md: ``python -m app.report results [--record] [--mixed]``.

  out=docs/RESULTS.md                 the page
  experiments=docs/experiments.yaml   its sections
  findings=docs/FINDINGS.md           what it begins with
  records=docs/records                a file for each experiment: the settings and final numbers of its runs
  --record                            write these files, of the experiments whose runs are here
  --mixed                             allow runs of several versions of the code; the page names them at its top

Every experiment of the experiments file becomes a section: the command, the seeds, the code that ran it, mean ± std of
what came out, and the published figures beside. Findings are written by hand in a file of their own, which becomes the
first section. Where the folder of an experiment holds no runs, its record is read; experiments that have neither are
listed with their commands. Runs of several code versions are refused, unless --mixed allows them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import markdown as md
from ..arguments import read_arguments, wants_help
from ..errors import UserError
from ..runs import find_runs
from .cli import read_results, write
from .experiments import Experiment, published, read_experiments
from .groups import Group, group, is_tie, spread
from .intervals import CONFIDENCE, fold_means, wilson_interval
from .records import read_record, record_text
from .results import Result
from .tables import COLUMNS, MISSING, code, has_versions, remarks, trials, written

ABOUT = ("input", "counts", "augmentation", "selection")
"""What has to be known of a published figure before it is compared."""
AUGMENTATION = {
    "data.max_shift_pixels": "moved by up to {} px",
    "data.event_dropout": "{} of the events dropped",
    "data.time_jitter_steps": "events moved by up to {} steps",
}
TOGETHER = ("accuracy_first", "accuracy_count")
"""Left out of the tables, which show the accuracy by the setting's own readout and say which that is."""
HEAD = """# Results

Written by `python -m app.report results` from the stored runs; do not edit (findings: [{findings}]({findings})). Mean ±
standard deviation over finished trials [95 % interval of the mean, Student's t]. Validation numbers are those of each
trial's best epoch by validation, test numbers belong to that epoch; the test split was read once in each run. Accuracy
is by the setting's readout: the class that fires first, or the one that fires most (count). Decision spikes: spikes of
all non-input neurons until the first output spike; spikes per sample: in the whole window. A setting is named after
what tells it from others of its rule; values that most of them share are left out.
"""


def main(argv: list[str]) -> int:
    """Read the runs of all experiments and write the page."""
    if wants_help(argv):
        print(__doc__)
        return 0
    usual = {"out": "docs/RESULTS.md", "experiments": "docs/experiments.yaml", "findings": "docs/FINDINGS.md"}
    usual["records"] = "docs/records"
    arguments = read_arguments(argv, keys=usual, flags=["mixed", "record"])
    given = usual | arguments.values
    experiments, out = read_experiments(Path(given["experiments"])), Path(given["out"])
    known = known_results(experiments, Path(given["records"]))
    text = results_text(experiments, known, Path(given["findings"]), out, "mixed" in arguments.flags)
    if "record" in arguments.flags:
        for one in filter(_has_runs, experiments):
            write(Path(given["records"]) / one.record, record_text(*known[one.title]))
    write(out, text)
    print(f"{out}: {len(known)} of {len(experiments)} experiments; the others have neither runs here nor records")
    return 0


def known_results(experiments: Sequence[Experiment], records: Path) -> dict[str, tuple[str, list[Result]]]:
    """By title, the command that ran an experiment and its runs: those of its folder, else those of its record.

    Raises:
        UserError: a record cannot be read.
    """
    known = {}
    for one in experiments:
        if _has_runs(one):
            known[one.title] = one.shown_command, read_results([str(one.folder)])
        elif (records / one.record).is_file():
            known[one.title] = read_record(records / one.record, one.folder)
    return known


def results_text(
    experiments: Sequence[Experiment],
    known: Mapping[str, tuple[str, list[Result]]],
    findings: Path,
    out: Path,
    mixed: bool = False,
) -> str:
    """The whole page.

    Args:
        experiments: its sections.
        known: what :func:`known_results` found.
        findings: Markdown to begin with, if the file exists.
        out: where the page will be; links in included files are made relative to it.
        mixed: allow runs of several code versions, and name them.

    Raises:
        UserError: there are several, and they are not allowed.
    """
    read = {title: group(results) for title, (_, results) in known.items()}
    versions = sorted({version for groups in read.values() for one in groups for version in one.code_versions})
    if len(versions) > 1 and not mixed:
        raise UserError(
            f"the runs were made by {len(versions)} versions of the code ({', '.join(versions)}): run them again with "
            "app.report rebuild, or add --mixed to write the page nevertheless"
        )
    parts = [HEAD.format(findings=posixpath.relpath(findings.as_posix(), out.parent.as_posix()))]
    if findings.is_file():
        parts.append(included(findings, out.parent))
    if len(versions) > 1:
        parts.append(f"**The figures are of {len(versions)} versions of the code**: {', '.join(versions)}.\n")
    waiting = [one for one in experiments if one.title not in read]
    parts += [_section(o, out.parent, known[o.title][0], read[o.title]) for o in experiments if o.title in read]
    if waiting:
        commands = "\n\n".join(f"{one.title}: {one.about}\n\n{_code(one, one.shown_command)}" for one in waiting)
        parts.append(f"## Not run here\n\n{commands}\n")
    return "\n".join(parts)


def _has_runs(experiment: Experiment) -> bool:
    return experiment.folder.is_dir() and bool(find_runs(experiment.folder)[0])


def _code(experiment: Experiment, command: str) -> str:
    return "\n".join(f"    {line}" for line in (command, *experiment.then))


def _section(experiment: Experiment, base: Path, command: str, groups: Sequence[Group]) -> str:
    parts = [f"## {experiment.title}\n", *([f"{experiment.about.strip()}\n"] if experiment.about else [])]
    parts += [f"{_code(experiment, command)}\n", f"{_origin(groups)}\n", _table(experiment, groups)]
    parts += [f"{line}\n" for line in (*_folds(experiment, groups), *_published_besides(experiment, groups))]
    for name in experiment.include:
        if not Path(name).is_file():
            raise UserError(f"{experiment.title}: include: {name} does not exist; run the command that writes it")
        parts.append(included(Path(name), base, lower=2))
    return "\n".join(parts)


def _origin(groups: Sequence[Group]) -> str:
    results = [result for one in groups for result in one.finished]
    seeds = sorted({result.seed for result in results})
    versions = sorted({result.run.code_version or "unknown" for result in results})
    unfinished = sum(one.unfinished for one in groups)
    left_out = f"; {unfinished} unfinished" if unfinished else ""
    hours = sum(result.train_s or 0 for result in results) / 3600
    time = f"; {hours:.1f} hours of training" if hours >= 0.05 else ""
    runs, by = md.counted(len(results), "finished run"), ", ".join(versions) or MISSING
    origin = f"{runs}{left_out}; seeds {_ranges(seeds)}; code {by}{time}."
    noted = "".join(f"\n- {md.cell(remark)}" for remark in remarks(groups))
    return origin + (f"\n{noted}" if noted else "")


def _ranges(numbers: Sequence[int]) -> str:
    """0-4, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts) or MISSING


def _table(experiment: Experiment, groups: Sequence[Group]) -> str:
    chosen = _chosen(groups) if experiment.choose else list(groups)
    columns = [c for c in COLUMNS if c.name not in TOGETHER and any(g.spread(c.split, c.name).n for g in groups)]
    if any(c.name == "accuracy" for c in columns):
        columns = [c for c in columns if c.name != "loss"]
    has_published = any(_published(experiment, one) for one in groups)
    is_mixed = has_versions(groups)
    is_told = bool(experiment.published) or any(map(_is_augmented, groups))
    more = [
        *(["augmentation"] if is_told else []),
        *(["code"] if is_mixed else []),
        *(["published"] if has_published else []),
    ]
    heading = ["setting", "readout", "trials", *(c.title for c in columns), *more]
    rows = []
    for one in groups:
        cells = [MISSING if c.split == "test" and one not in chosen else written(one, c) for c in columns]
        label = f"**{one.label}** ({_choice(one, chosen)})" if experiment.choose and one in chosen else one.label
        beside = ["; ".join(_published(experiment, one)) or MISSING] if has_published else []
        told = [_augmentation(one)] if is_told else []
        rows.append([label, _readout(one), trials(one), *cells, *told, *code(one, is_mixed), *beside])
    note = "\nChosen: best mean validation of its rule; test numbers are shown for the chosen alone.\n"
    return md.table(heading, rows) + (note if experiment.choose else "")


def _is_augmented(one: Group) -> bool:
    return any(one.results[0].settings.get(key) for key in AUGMENTATION)


def _augmentation(one: Group) -> str:
    """What was done to training samples, for figures that are compared."""
    values = ((words, one.results[0].settings.get(key)) for key, words in AUGMENTATION.items())
    return ", ".join(words.format(value) for words, value in values if value) or "none"


def _readout(one: Group) -> str:
    return one.measure.name.removeprefix("accuracy_")


def _chosen(groups: Sequence[Group]) -> list[Group]:
    """The complete settings of each task and rule that no other beats: groups come sorted by validation."""
    best: dict[tuple[str, str], list[Group]] = {}
    for one in groups:
        if one.finished and not one.unfinished:
            ahead = best.setdefault((one.task, one.rule), [one])
            if one is not ahead[0] and is_tie(ahead[0], one):
                ahead.append(one)
    return [one for tied in best.values() for one in tied]


def _choice(one: Group, chosen: Sequence[Group]) -> str:
    tied = sum((other.task, other.rule) == (one.task, one.rule) for other in chosen)
    return "chosen" if tied == 1 else f"tie of {tied}"


def _matches(one: Group, settings: dict[str, Any]) -> bool:
    have = one.results[0].settings
    return all(have.get(key) == value for key, value in settings.items())


def _figures(row: dict[str, Any]) -> str:
    spikes = f" at {row['spikes']} spikes" if "spikes" in row else ""
    return f"{row['accuracy']}{spikes}"


def _published(experiment: Experiment, one: Group) -> list[str]:
    rows = [row for name in experiment.published for row in published()[name].rows if "settings" in row]
    return [_figures(row) for row in rows if _matches(one, row["settings"])]


def _published_besides(experiment: Experiment, groups: Sequence[Group]) -> list[str]:
    """Sources, and the published figures that stand beside none of our settings."""
    lines = []
    for name in experiment.published:
        table = published()[name]
        rest = [r for r in table.rows if "settings" not in r or not any(_matches(g, r["settings"]) for g in groups)]
        listed = "; ".join(f"{row['name']}: {_figures(row)}" for row in rest)
        if any(about in row for row in rest for about in ABOUT):
            cells = [
                [row["name"], row["accuracy"], *(row.get(key, MISSING) for key in ("spikes", *ABOUT))] for row in rest
            ]
            heading = ["published", "test accuracy", "spikes", "input", "what is counted", "augmentation", "chosen by"]
            lines += [f"Published: {table.source}.", md.table(heading, cells).rstrip()]
        else:
            lines.append(f"Published ({table.source}){f'; not in the table: {listed}' if listed else ''}.")
    return lines


def _folds(experiment: Experiment, groups: Sequence[Group]) -> list[str]:
    lines = []
    for one in groups:
        means = fold_means(one.finished, "accuracy")
        if len(means) > 1:
            over = spread(means)
            mean, interval = over.mean, _shares(over.interval)
            line = f"{one.label}, cross-validation over {len(means)} folds: mean test accuracy {100 * mean:.2f} %; "
            line += f"{100 * CONFIDENCE:g} % interval {interval} (Student's t over the folds' means)"
            if experiment.recordings:
                wilson = _shares(wilson_interval(mean, experiment.recordings))
                line += f", {wilson} (Wilson, the {experiment.recordings} recordings, each tested once)"
            lines.append(f"{line}.")
    return lines


def _shares(interval: tuple[float, float]) -> str:
    low, high = (100 * min(max(end, 0.0), 1.0) for end in interval)
    return f"{low:.2f}-{high:.2f} %"


def included(path: Path, base: Path, lower: int = 1) -> str:
    """A Markdown file as part of a page in ``base``: headings so many levels lower, links relative to the page."""
    text = re.sub(r"^(#+ )", rf"{'#' * lower}\1", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shift = posixpath.relpath(path.parent.as_posix(), base.as_posix())

    def link(found: re.Match[str]) -> str:
        target = found[2]
        outside = re.match(r"[a-z]+:|[#/]", target)
        return f"{found[1]}({target if outside else posixpath.normpath(posixpath.join(shift, target))})"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", link, text).rstrip() + "\n"
