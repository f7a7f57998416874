"""What the samples of a soak say: does anything grow?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from statistics import linear_regression, mean, median
from typing import Any

from matplotlib.figure import Figure

from app.errors import RunStopped
from reliability.usage import Usage

HEAD = ("run", "what", "after warm-up", "at the end", "per hour", "may grow by", "grew")
WARM_UP = 1 / 6
"""Share of the time, and of each life of the resumed run, that does not count."""
END = 1 / 5
"""Share of the counted time over which memory is averaged for its start and its end."""
WINDOWS = 10
"""An undisturbed run is cut into so many parts; the resumed one has its lives."""
BYTES_PER_STEP = 64
NOISE = 0.01
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """What a run holds at a moment.

    Args:
        time_s: since the start of the test.
        run: its name.
        life: which process of the run, from 1.
        age_s: of the process.
        step: of its last checkpoint.
        trainer: the training process.
        others: the processes that it has started, together.
    """

    time_s: float
    run: str
    life: int
    age_s: float
    step: int
    trainer: Usage
    others: Usage

    @staticmethod
    def columns() -> list[str]:
        """The names in a table."""
        names = [item.name for item in fields(Usage)]
        return ["time_s", "run", "life", "age_s", "step", *names, *(f"others_{name}" for name in names)]

    def as_row(self) -> list[Any]:
        """The values in a table."""
        used = [round(getattr(of, item.name), 2) for of in (self.trainer, self.others) for item in fields(Usage)]
        return [round(self.time_s, 1), self.run, self.life, round(self.age_s, 1), self.step, *used]

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Sample:
        """Back from a table."""
        trainer, others = (
            Usage(float(row[f"{who}rss_mib"]), int(row[f"{who}handles"]), int(row[f"{who}threads"]))
            for who in ("", "others_")
        )
        return cls(
            float(row["time_s"]), row["run"], int(row["life"]), float(row["age_s"]), int(row["step"]), trainer, others
        )


MEASURES: dict[str, tuple[Callable[[Sample], float], bool]] = {
    "memory, MiB": (lambda sample: sample.trainer.rss_mib, True),
    "memory of its helpers, MiB": (lambda sample: sample.others.rss_mib, True),
    "file handles": (lambda sample: sample.trainer.handles, False),
    "file handles of its helpers": (lambda sample: sample.others.handles, False),
    "threads": (lambda sample: sample.trainer.threads, False),
    "threads of its helpers": (lambda sample: sample.others.threads, False),
}
"""What is looked at, and whether it is memory."""


@dataclass(frozen=True)
class Finding:
    """One measure of one run.

    Args:
        run: which.
        what: which measure.
        start: its value after the warm-up.
        end: its value at the end.
        per_hour: its slope.
        growth: by how much it grew: the slope times the time for memory, end less start for counts. A count's start is
            the median of the first half, its end the least of the second: what grows steadily is above its early
            median for ever, what each new process draws anew (Go's runtime starts W&B's 13 or 14 threads) is not.
        bound: by how much it may grow.
    """

    run: str
    what: str
    start: float
    end: float
    per_hour: float
    growth: float
    bound: float

    def row(self) -> tuple[str, ...]:
        """As a line of the table."""
        values = (f"{value:.1f}" for value in (self.start, self.end))
        grew = "YES" if self.growth > self.bound else "no"
        return (self.run, self.what, *values, f"{self.per_hour:+.2f}", f"{self.bound:.1f}", grew)


def judge(samples: Sequence[Sample]) -> list[Finding]:
    """All measures of all runs."""
    points = {name: _counted([s for s in samples if s.run == name]) for name in dict.fromkeys(s.run for s in samples)}
    return [
        _finding(name, what, of_run, measure, is_memory)
        for name, of_run in points.items()
        for what, (measure, is_memory) in MEASURES.items()
    ]


def _counted(samples: list[Sample]) -> list[list[Sample]]:
    """Groups of samples that each give one point: windows of an undisturbed run, else those of a life."""
    lives = [list(life) for _, life in groupby(samples, key=lambda s: s.life)]
    if len(lives) == 1:
        warm = [s for s in samples if s.time_s >= WARM_UP * samples[-1].time_s]
        length = max(1, len(warm) // WINDOWS)
        points = [warm[i : i + length] for i in range(0, len(warm) - length + 1, length)]
    else:
        points = [trained for life in lives[1:] if (trained := _trained(life))]
    if len(points) < 3:
        raise RunStopped(f"{samples[0].run}: too few samples to see whether anything grows; use more --minutes")
    return points


def _trained(life: list[Sample]) -> list[Sample]:
    """The samples of a life after its first checkpoint and its warm-up."""
    begun = [s for s in life if s.step > life[0].step]
    warm = begun[0].age_s + WARM_UP * (begun[-1].age_s - begun[0].age_s) if begun else 0.0
    return [s for s in begun if s.age_s >= warm]


def _finding(
    run: str, what: str, points: list[list[Sample]], measure: Callable[[Sample], float], is_memory: bool
) -> Finding:
    values = [(median if is_memory else min)(map(measure, point)) for point in points]
    hours = [mean(sample.time_s for sample in point) / 3600 for point in points]
    slope = linear_regression(hours, values).slope
    ends = max(1, round((END if is_memory else 1 / 2) * len(values)))
    first, last = (mean, mean) if is_memory else (median, min)
    start, end = first(values[:ends]), last(values[-ends:])
    if not is_memory:
        return Finding(run, what, start, end, slope, end - start, 0)
    steps = points[-1][-1].step - points[0][0].step
    bound = BYTES_PER_STEP * steps / MIB + NOISE * start
    return Finding(run, what, start, end, slope, slope * (hours[-1] - hours[0]), bound)


PANELS = {"memory, MiB": "rss_mib", "file handles": "handles", "threads": "threads"}
COLOURS = {"one process": "#0072b2", "resumed": "#d55e00"}


def figure(samples: Sequence[Sample]) -> Figure:
    """Memory, handles and threads over time: the trainer as a line, with its helpers as a thin one."""
    picture = Figure(figsize=(8, 7), layout="constrained")
    for ax, (label, name) in zip(picture.subplots(3, 1, sharex=True), PANELS.items(), strict=True):
        for run, colour in COLOURS.items():
            mine = [s for s in samples if s.run == run]
            for life in sorted({s.life for s in mine}):
                of_life = [s for s in mine if s.life == life]
                minutes = [s.time_s / 60 for s in of_life]
                own = [getattr(s.trainer, name) for s in of_life]
                both = [getattr(s.trainer + s.others, name) for s in of_life]
                ax.plot(minutes, own, color=colour, lw=1.6, label=run if life == 1 else None)
                ax.plot(minutes, both, color=colour, lw=0.7, label=f"{run}, with helpers" if life == 1 else None)
        ax.set_ylabel(label)
        ax.set_ylim(bottom=0)
        ax.grid(color="#d9dee4", lw=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    picture.legend(*picture.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    picture.axes[-1].set_xlabel("minutes")
    return picture
