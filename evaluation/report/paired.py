"""Figures of several methods side by side: each compared with the first method's, unit by unit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.figures.intervals import Difference, paired_difference
from evaluation.figures.record import Figure
from evaluation.report.runs import Run
from evaluation.scores.answers import grouped

FEW = 6  # prompts: of fewer not even the largest difference at all of them is marked


@dataclass(frozen=True)
class Change:
    """What a method's figure is against the first method's.

    Args:
        value, low, high: the difference, the first method's subtracted, with its 95% interval.
        probability: that the method is better; of a metric without a better side, that it is higher.
        verdict: better, worse or differs where the difference is significant, "" where it is not.
    """

    value: float
    low: float | None
    high: float | None
    probability: float
    verdict: str


@dataclass(frozen=True)
class Row:
    """A method's figure in a comparison.

    Args:
        measured_on: the figure's; where a run has two of that name, the set of pictures.
        sets: the sets of pictures it is about: several, where figures are taken together.
        change: None where there is nothing to compare with.
        past_change: of the share of units past the metric's limit, where it has one.
    """

    figure: Figure
    measured_on: str
    sets: tuple[str, ...]
    change: Change | None = None
    past_change: Change | None = None

    @property
    def method(self) -> str:
        return self.figure.method

    @property
    def topic(self) -> str:
        return self.figure.subject.topic.replace("_", " ")

    @property
    def same(self) -> tuple[str, str, str]:
        """What the figures of two methods that are compared have in common."""
        return self.figure.metric, self.measured_on, self.figure.judge


def compare_runs(runs: Sequence[Run]) -> list[Row]:
    """The rows of all methods, those of one metric, group and judge together, in the order of the first run.

    Raises:
        UserError: two runs' figures are of other prompts, seeds or judges.
    """
    return [row for same in grouped(rows_of(runs), lambda row: row.same) for row in with_the_first(same, runs[0].name)]


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """The figures of all runs, compared with nothing yet."""
    rows = [Row(of, of.measured_on, (of.subject.pictures,)) for run in runs for of in run.figures]
    # where two figures of a run measure the same on other pictures, these tell them apart
    several = grouped(rows, lambda row: (*row.same, row.method))
    unclear = {same[0].same for same in several if len(same) > 1}
    return [
        replace(row, measured_on=row.sets[0].replace("_", " ")) if row.same in unclear and row.sets[0] else row
        for row in rows
    ]


def with_the_first(rows: Sequence[Row], first_name: str) -> list[Row]:
    """Rows of one metric, group and judge, a method each, compared with the first method's."""
    first = next((row for row in rows if row.method == first_name), None)
    return [compared(row, None if row is first else first, first_name) for row in rows]


def compared(row: Row, first: Row | None, first_name: str) -> Row:
    """The row with what its figure is against the first method's.

    Args:
        first: None where the first method has no such figure, or is the one.

    Raises:
        UserError: they are not of the same prompts, seeds, judge or reference.
    """
    ours, kind = row.figure, row.figure.kind
    if first is None:
        if kind.even is None or ours.group != f"against {first_name}":
            return row
        found = paired_difference(list(ours.per_unit.values()), kind.even, bounds=kind.bounds, seeds=[ours.seed_values])
        return replace(row, change=_change(found, kind.direction))
    theirs = first.figure
    if not ours.per_unit:
        return row
    check_pair(row, first)
    units = list(theirs.per_unit)
    found = paired_difference(
        [ours.per_unit[unit] for unit in units],
        [theirs.per_unit[unit] for unit in units],
        bounds=kind.apart,
        seeds=[ours.seed_values, theirs.seed_values],
    )
    change = _change(found, theirs.way)
    if kind.signed and change.verdict:  # past 0 it may be further off than it was
        change = replace(change, verdict="better" if abs(ours.value) < abs(theirs.value) else "worse")
    past, past_before = ours.past, theirs.past
    if past is None or past_before is None:
        return replace(row, change=change)
    found = paired_difference(
        [past[unit] for unit in units],
        [past_before[unit] for unit in units],
        bounds=(0.0, 1.0),
        seeds=[[of.past_limit or 0.0 for of in figure.seeds.values()] for figure in (ours, theirs)],
    )
    return replace(row, change=change, past_change=_change(found, -1))


def _change(found: Difference, way: int | None) -> Change:
    """A difference with what it means where `way` is the better side."""
    verdict = ""
    if found.significant:
        verdict = "differs" if way is None else "better" if found.value * way > 0 else "worse"
    probability = 1 - found.probability if way == -1 else found.probability
    return Change(found.value, found.low, found.high, probability, verdict)


def check_pair(row: Row, first: Row) -> None:
    """Refuse to compare what was not measured alike.

    Raises:
        UserError
    """
    ours, theirs = row.figure, first.figure
    what = f"{ours.metric} on {row.measured_on}"
    both = f"{theirs.method} and {ours.method}"
    for key, of_first, own in (
        ("version", theirs.version, ours.version),
        ("threshold", theirs.threshold, ours.threshold),
    ):
        if own != of_first:
            raise UserError(
                f"{what}: {both} were judged by {ours.judge} of another {key} ({of_first} and {own}); "
                "score both with the same judge"
            )
    if different := sorted(ours.per_unit.keys() ^ theirs.per_unit.keys()):
        having = ours.method if different[0] in ours.per_unit else theirs.method
        raise UserError(
            f"{what}: the prompts of {both} differ, only {having} has {different[0]!r}; evaluate both on the same file"
        )
    if ours.sample != theirs.sample:
        raise UserError(
            f"{what}: {both} have the same prompts but other seeds or another number of pictures; generate both with "
            "the same --seed and --images_per_prompt"
        )
    references = [Path(of.reference).resolve() for of in (theirs, ours) if of.reference]
    if len(set(references)) > 1:
        raise UserError(
            f"{what}: {theirs.method} was compared with the pictures of {references[0]}, {ours.method} with those "
            f"of {references[1]}; name the same --ref_image_paths for both"
        )


def warnings(rows: Sequence[Row]) -> list[str]:
    """What makes figures or marks less sure than they seem, a sentence each."""
    found = [row.figure.warning for row in rows if row.figure.warning]
    tested = [row for row in rows if row.change is not None]
    few = [row.measured_on for row in tested if len(row.figure.per_unit) < FEW]
    if few:
        found.append(f"{', '.join(dict.fromkeys(few))}: fewer than {FEW} prompts, which say little about others")
    marks = len(tested) + sum(row.past_change is not None for row in tested)
    if marks > 20:
        by_chance = f"on average {round(marks / 20)} or fewer would be marked if nothing differed"
        found.append(f"Of the {marks} comparisons here, {by_chance}")
    return [f"{text}." for text in dict.fromkeys(found)]
