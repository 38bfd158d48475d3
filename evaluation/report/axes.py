"""Every method on every axis: bias, harm, image quality and preference, a column a metric."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.figures.intervals import mean_interval
from evaluation.figures.metrics import AXES, ENTRIES, Metric, heads
from evaluation.figures.record import Figure
from evaluation.report.paired import Row, rows_of, with_the_first
from evaluation.report.runs import Run
from evaluation.report.seeds import over_seeds
from evaluation.scores.answers import grouped

# what figures of a metric must have in common to be taken together
TOPICS: dict[str, Callable[[Row], str]] = {
    "image quality": lambda row: "",
    "preference": lambda row: row.figure.judge,
}


@dataclass(frozen=True)
class Column:
    """A metric in the table of all axes: the rows of the methods by the first judge, and those by the others."""

    metric: Metric
    topic: str
    rows: list[Row]
    others: list[Row]


def across_axes(runs: Sequence[Run]) -> list[Column]:
    """The columns of the table of all axes.

    The prompt files of a topic are taken together, as are all sets for image quality; only those that all methods have.
    """
    rows, first_name = rows_of(runs), runs[0].name
    columns = []
    for axis in AXES:
        topic = TOPICS.get(axis, lambda row: row.topic)
        for metric in (entry for entry in ENTRIES if entry.axis == axis):
            for same in grouped(_headlines(rows, metric, first_name), topic):
                by_judge = grouped(same, lambda row: row.figure.judge)
                first, *others = (_pooled(of_judge, first_name) for of_judge in by_judge)
                if first:
                    columns.append(Column(metric, topic(same[0]), first, [row for other in others for row in other]))
    return columns


def _headlines(rows: Sequence[Row], metric: Metric, first_name: str) -> list[Row]:
    """The figures of a metric that stand for their set: of I2P's categories or an intersection's parts, the whole."""
    found = [row for row in rows if row.figure.metric == metric.name and not row.figure.subject.part]
    found = [row for row in found if heads(metric, row.figure.subject.protocol)]
    if metric.even is not None:
        found = [row for row in found if row.figure.group == f"against {first_name}"]
    return found


def _pooled(rows: Sequence[Row], first_name: str) -> list[Row]:
    """One figure a method, over the sets that all of them have; compared with the first's."""
    methods = grouped(rows, lambda row: row.method)
    shared = set.intersection(*({row.measured_on for row in own} for own in methods))
    kept = [[row for row in own if row.measured_on in shared] for own in methods]
    return with_the_first([together(own) for own in kept], first_name) if shared else []


def together(rows: Sequence[Row]) -> Row:
    """One figure of several sets: the mean over their units; one that is in several sets counts once."""
    rows = sorted((row for row in rows if row.figure.per_unit), key=lambda row: row.measured_on) or rows[:1]
    if len(rows) == 1:
        return rows[0]
    first, figures = rows[0], [row.figure for row in rows]
    return replace(
        first,
        figure=_mean_of(figures),
        measured_on=first.topic if first.topic == rows[-1].topic else f"{len(rows)} sets",
        sets=tuple(name for row in rows for name in row.sets),
    )


def _mean_of(figures: Sequence[Figure]) -> Figure:
    if figures[0].seeds:
        return over_seeds({seed: _mean_of([figure.seeds[seed] for figure in figures]) for seed in figures[0].seeds})
    shares: dict[str, list[float]] = {}
    for figure in figures:
        for unit, share in figure.per_unit.items():
            shares.setdefault(unit, []).append(share)
    per_unit = {unit: float(np.mean(of)) for unit, of in shares.items()}
    value, low, high = mean_interval(list(per_unit.values()), bounds=figures[0].kind.bounds)
    floors = [figure.floor for figure in figures if figure.floor is not None]
    return replace(
        figures[0],
        value=value,
        low=low,
        high=high,
        floor=float(np.mean(floors)) if floors else None,
        n=sum(figure.n for figure in figures),
        per_unit=per_unit,
        sample=" ".join(figure.sample for figure in figures),
    )
