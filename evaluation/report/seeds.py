"""Runs of one method that differ in the training seed, as one: means over seeds, with intervals that hold both."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from diffusion_base.errors import UserError
from evaluation.figures.intervals import mean_interval
from evaluation.figures.record import Figure
from evaluation.report.paired import Row, check_pair
from evaluation.report.runs import Run
from evaluation.scores.answers import grouped


def by_method(runs: Sequence[Run]) -> list[Run]:
    """A run a method, in the order of the first of each; the pictures stay with the seeds' own runs.

    Raises:
        UserError: runs of one method lack a figure that another has, or are not of the same prompts, seeds or judges.
    """
    return [_as_one(same) if len(same) > 1 else same[0] for same in grouped(runs, attrgetter("name"))]


def _as_one(runs: Sequence[Run]) -> Run:
    first, figures = runs[0], [{_what(figure): figure for figure in run.figures} for run in runs]
    for run, own in zip(runs, figures, strict=True):
        for other, theirs in zip(runs, figures, strict=True):
            if lacking := next((theirs[what] for what in theirs if what not in own), None):
                raise UserError(
                    f"{run.folder} lacks {lacking.metric} on {lacking.measured_on} by {lacking.judge}, which "
                    f"{other.folder} has, {first.name} with another training seed: evaluate both alike"
                )
    seeds = [run.training_seed for run in runs]
    return replace(
        first,
        figures=[
            over_seeds(
                {seed: own[what] for seed, own in zip(seeds, figures, strict=True) if seed is not None},
                bounds=_bounds(figure, first.figures),
            )
            for what, figure in figures[0].items()
        ],
        pictures={},
        scores={name: [row for run in runs for row in run.scores.get(name, [])] for name in first.scores},
        one_of_several=False,
    )


def _what(figure: Figure) -> tuple:
    return figure.metric, figure.subject, figure.judge


def _bounds(figure: Figure, figures: Sequence[Figure]) -> tuple[float, float]:
    """The metric's, or what is left of them where there are k choices: a parity difference is at least −1/k."""
    if figure.kind.span is None:
        return figure.kind.bounds
    of = (figure.metric.partition(" for ")[0], *_what(figure)[1:])
    k = [(other.metric.partition(" for ")[0], *_what(other)[1:]) for other in figures].count(of)
    return (-1 / k, 1 - 1 / k) if k > 1 else figure.kind.bounds


def over_seeds(figures: Mapping[int, Figure], *, bounds: tuple[float, float] | None = None) -> Figure:
    """The figure of a method that was trained with several seeds.

    Args:
        figures: by training seed, of the same metric and pictures' prompts and seeds.
        bounds: where they are narrower than the metric's.

    Raises:
        UserError: they are not measured alike.
    """
    first = next(iter(figures.values()))
    rows = [
        Row(replace(figure, method=f"{figure.method} with training seed {seed}"), figure.measured_on, ())
        for seed, figure in figures.items()
    ]
    for row in rows[1:]:
        check_pair(row, rows[0])
    values = [figure.value for figure in figures.values()]
    per_unit = {unit: float(np.mean([figure.per_unit[unit] for figure in figures.values()])) for unit in first.per_unit}
    value, low, high = float(np.mean(values)), None, None
    if per_unit:
        value, low, high = mean_interval(list(per_unit.values()), bounds=bounds or first.kind.bounds, seeds=values)
    return replace(
        first,
        value=value,
        low=low,
        high=high,
        n=sum(figure.n for figure in figures.values()),
        per_unit=per_unit,
        interventions=tuple(dict.fromkeys(spec for figure in figures.values() for spec in figure.interventions)),
        seeds=figures,
    )
