"""What a figure is: its value with everything that is needed to read it, compare it and draw it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter

import numpy as np

from diffusion_base.identity import json_hash
from evaluation.figures.intervals import mean_interval
from evaluation.figures.metrics import Metric, metric_of
from evaluation.scores.answers import grouped


@dataclass(frozen=True)
class Subject:
    """What a figure is about.

    Args:
        protocol: bias, toxicity, retrieved, winobias, i2p, image quality, preference, or what a script calls its own.
        pictures: the set of pictures, as its folder in imgs/ is called.
        group: what tables say it was measured on; one figure of a metric and judge has it in a run.
        attribute: what was asked about the pictures: gender, bloody, …; "" where nothing was.
        prompt_set: the prompts: career, plain, …
        topic: the same for several prompt sets that are taken together in the table of all axes; by default the group.
        part: of a figure that has a whole beside it, its part: I2P's category, one attribute of an intersection.
    """

    protocol: str
    pictures: str
    group: str
    attribute: str = ""
    prompt_set: str = ""
    topic: str = ""
    part: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "topic", self.topic or self.group)

    def of_part(self, part: str) -> "Subject":
        return replace(self, group=f"{self.group}, {part}", topic=f"{self.topic}, {part}", part=part)


@dataclass(frozen=True)
class Figure:
    """One figure of one method.

    Args:
        metric: its name in the table of metrics, or "<name> for <choice>".
        value: the mean over units (a distance: of the whole set).
        low, high: its 95% interval; None where one unit says nothing of others.
        n: pictures.
        per_unit: the value of each unit, whose mean is `value`; empty where the pictures have no prompts.
        unit: what is counted as one and averaged over: "prompt", "occupation", …
        judge, version, threshold: who answered; harmful is what scores above the threshold.
        sample: the same for two figures only where all prompts and seeds are.
        floor: what a perfectly fair model would show; None where there is none.
        reference: the folder of pictures that these were compared with.
        warning: what makes it less sure than it seems.
        interventions: those that the command line named, where a protocol made the pictures.
        seeds: of a method that was trained several times the figure of each training seed; `value` and `per_unit` are
            means over them, and the interval holds seeds too.
    """

    metric: str
    method: str
    subject: Subject
    value: float
    low: float | None
    high: float | None
    n: int
    per_unit: Mapping[str, float]
    unit: str
    judge: str
    version: str
    threshold: float | None
    sample: str
    floor: float | None = None
    reference: str | None = None
    warning: str | None = None
    interventions: tuple[str, ...] = ()
    seeds: Mapping[int, "Figure"] = field(default_factory=dict)

    @property
    def kind(self) -> Metric:
        return metric_of(self.metric)

    @property
    def group(self) -> str:
        return self.subject.group

    @property
    def measured_on(self) -> str:
        """The group in words: sets are called after files."""
        return self.subject.group.replace("_", " ")

    @property
    def way(self) -> int | None:
        return self.kind.way(self.value)

    @property
    def worst(self) -> tuple[str, float] | None:
        """The unit that does worst, and its value, of all seeds; None where no unit can do worse than another."""
        if not self.kind.has_worst or not self.per_unit:
            return None
        values = [pair for of in self.each_seed for pair in of.per_unit.items()]
        return max(values, key=lambda pair: self.kind.fault(pair[1]))

    @property
    def past(self) -> dict[str, float] | None:
        """Of each unit whether it is past the metric's limit, 1 or 0, or in which share of the seeds; None where there
        is no limit."""
        limit = self.kind.limit
        if limit is None or not self.per_unit:
            return None
        past = {unit: [self.kind.fault(of.per_unit[unit]) > limit for of in self.each_seed] for unit in self.per_unit}
        return {unit: sum(of_unit) / len(of_unit) for unit, of_unit in past.items()}

    @property
    def past_limit(self) -> float | None:
        """The share of units that are past the metric's limit."""
        return None if self.past is None else sum(self.past.values()) / len(self.past)

    @property
    def each_seed(self) -> list["Figure"]:
        """The figures of the training seeds, or this one where it has none."""
        return list(self.seeds.values()) or [self]

    @property
    def seed_values(self) -> list[float]:
        return [of.value for of in self.seeds.values()]

    @property
    def spread(self) -> float | None:
        """The standard deviation of the seeds' values."""
        return float(np.std(self.seed_values, ddof=1)) if self.seeds else None

    @property
    def worst_seed(self) -> int | None:
        """The training seed whose value is worst; None where neither side is worse."""
        if not self.seeds or not (self.kind.signed or self.kind.direction):
            return None
        return max(self.seeds, key=lambda seed: self.kind.fault(self.seeds[seed].value))

    @property
    def seed_of_worst(self) -> int | None:
        """The training seed in which the worst unit is as bad as that."""
        return next((seed for seed, of in self.seeds.items() if self.worst and of.worst == self.worst), None)


def mean_figure(
    rows: Sequence[dict],
    metric: str,
    of_unit: Callable[[list[dict]], float],
    *,
    method: str,
    subject: Subject,
    floor: float | None = None,
    bounds: tuple[float, float] | None = None,
    unit: str = "prompt",
) -> Figure:
    """The mean over prompts of `of_unit`, from the `rows` of one judge.

    Args:
        bounds: where they are narrower than the metric's.
        unit: the rows' key that takes the prompt's place, e.g. "occupation".
    """
    per_unit = {of[0][unit]: float(of_unit(of)) for of in grouped(rows, itemgetter(unit))}
    value, low, high = mean_interval(list(per_unit.values()), bounds=bounds or metric_of(metric).bounds)
    return Figure(
        metric=metric,
        method=method,
        subject=subject,
        value=value,
        low=low,
        high=high,
        n=len(rows),
        per_unit=per_unit,
        unit=unit,
        judge=rows[0]["judge"],
        version=rows[0]["version"],
        threshold=rows[0].get("threshold"),
        sample=sample_key((row["prompt"], row.get("seed")) for row in rows),
        floor=floor,
    )


def sample_key(pictures: Iterable[tuple[str, int | None]]) -> str:
    """16 hex digits that stand for the prompts and seeds of pictures, in any order."""
    return json_hash(sorted(map(str, pictures)))


def table(figures: Sequence[Figure]) -> str:
    """Figures as text in columns: one line a metric, group and judge, one column a method."""
    methods = list(dict.fromkeys(figure.method for figure in figures))
    lines = [["metric", "measured on", "judge", *methods, "fair model"]]
    for same in grouped(figures, attrgetter("metric", "group", "judge")):
        cells = {figure.method: in_words(figure) for figure in same}
        floor = "" if same[0].floor is None else f"{same[0].floor:.2f}"
        named = [same[0].metric, same[0].measured_on, same[0].judge]
        lines.append([*named, *(cells.get(method, "") for method in methods), floor])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def in_words(figure: Figure) -> str:
    """A figure with its interval: "0.25 [0.11, 0.41]"."""
    digits = figure.kind.decimals
    limits = "" if figure.low is None else f" [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    return f"{figure.value:.{digits}f}{limits}"
