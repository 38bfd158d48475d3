"""A comparison to one HTML file that needs nothing else: pictures inside, and no request to anywhere."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from diffusion_base.files import write_text
from diffusion_base.page.rendering import page_environment
from evaluation.figures.metrics import metric_of
from evaluation.report.accuracy import TRUTH, Accuracy
from evaluation.report.album import Album, Strip
from evaluation.report.axes import Column
from evaluation.report.charts import NAMED, bar, bar_scale, by_unit, dot_scale, interval, spread
from evaluation.report.paired import Row
from evaluation.report.wording import (
    MARKS,
    chance,
    difference,
    difference_of,
    limits,
    listed,
    number,
    past_limit,
    percent,
    plain,
    seeds,
    signed,
    worst,
    worst_unit,
)
from evaluation.scores.answers import grouped

STRIPS = 4  # prompts of a set that are shown side by side, besides the worst
PALETTE = 7


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows; the methods are compared with the first of them."""

    title: str
    intro: str
    methods: list[str]
    rows: list[Row]
    columns: list[Column]
    judges: list[Accuracy]
    warnings: list[str]
    provenance: dict[str, str]
    charts: Mapping[str, Path]

    @property
    def first(self) -> str:
        return self.methods[0]


def write_report(file: Path, comparison: Comparison, album: Album) -> Path:
    """Write the report.

    Raises:
        UserError: a picture is missing or broken.
    """
    environment = page_environment("evaluation.report")
    filters = (embedded, number, limits, worst, worst_unit, past_limit, difference, difference_of, chance, seeds)
    environment.filters |= {of.__name__: of for of in filters}
    environment.globals |= {
        of.__name__: of for of in (bar, bar_scale, by_unit, dot_scale, interval, spread, plain, signed)
    }
    hero = opening(album)
    worst_prompts = album.worst(comparison.columns)
    grids = {name: strips for name in album.pictures if (strips := album.give_out(name, STRIPS))}
    html = environment.get_template("report.html.jinja").render(
        of=comparison,
        title=comparison.title,
        intro=comparison.intro,
        provenance=comparison.provenance,
        colours={method: i % PALETTE for i, method in enumerate(comparison.methods)},
        axes=grouped(comparison.columns, lambda column: column.metric.axis),
        changes={method: changes(comparison, method) for method in comparison.methods[1:]},
        hero=hero,
        worst_prompts=worst_prompts,
        worst_hides=any(bad.strip.harmful for part in worst_prompts for bad in part.prompts if bad.strip),
        grids=grids,
        table=grouped(comparison.rows, attrgetter("same")),
        glossary={row.figure.metric: metric_of(row.figure.metric) for row in comparison.rows},
        truth=TRUTH,
        judges_of=lambda column: judges_of(column, comparison.judges),
        marks=MARKS,
        units_named=NAMED,
        seeded=any(row.figure.seeds for row in comparison.rows),
    )
    write_text(file, html)
    return file


def opening(album: Album) -> list[Strip]:
    """Four prompts to begin with, of the first two sets that need no blurring if there are any."""
    names = [name for name in album.pictures if name not in album.harmful] or list(album.pictures)
    return [strip for name in names[:2] for strip in album.give_out(name, 4 // len(names[:2]))]


def changes(comparison: Comparison, method: str) -> dict[str, list[str]]:
    """What a method changed against the first, verdict → a phrase a column, with the figures if methods are few."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "differs": [], "": []}
    for column in comparison.columns:
        rows = {row.method: row for row in column.rows}
        if method in rows and (change := rows[method].change) is not None:
            about = f", {column.topic}" if column.topic else ""
            values = " → ".join(number(rows[name].figure) for name in (comparison.first, method) if name in rows)
            values = f" ({values})" if len(comparison.methods) <= 3 else ""
            found[change.verdict].append(f"{column.metric.title}{about}{values}")
    return found


def judges_of(column: Column, judges: Sequence[Accuracy]) -> list[str]:
    """How right the judges of a column are about its question, a phrase each."""
    asked = column.topic.split(", ")[0]
    names = {row.figure.judge for row in column.rows + column.others}
    known = grouped([one for one in judges if one.question == asked and one.judge in names], attrgetter("judge"))
    return [
        f"{same[0].judge} is right about " + listed([f"{percent(one.accuracy)} of {one.method}’s" for one in same])
        for same in known
    ]


def embedded(file: Path) -> str:
    """A PNG as it is, as a data URI."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
