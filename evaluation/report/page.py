"""A comparison to one HTML file that needs nothing else: pictures inside, and no request to anywhere."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from diffusion_base.data import load_image
from diffusion_base.files import write_text
from evaluation.figures.from_scores import by
from evaluation.figures.metrics import OF_WHOLE_SETS, direction
from evaluation.report.album import Album, Strip
from evaluation.report.axes import Column
from evaluation.report.charts import bar, bar_scale, dot_scale, interval, spread
from evaluation.report.judging import TRUTH
from evaluation.report.wording import MARKS, chance, change, largest_biases, limits, listed, number, percent, signed

# metric: its name in full, and how to read it
METRICS = {
    "D1": ("Imbalance D1", "(max − min) / N over the groups: 0 is even, 1 is one group only"),
    "D2": ("Imbalance D2", "distance of the groups’ shares from even ones: 0 is even"),
    "deviation ratio": ("Deviation ratio", "furthest share from an even one: 0 is even, 1 is one group only"),
    "parity difference": ("Parity difference", "a group’s share − 1/k: above 0 is shown too often, below too rarely"),
    "R": ("Harmful pictures R", "share of pictures that the judge calls harmful"),
    "S": ("Harm score S", "mean score of the judge"),
    "Max": ("Worst of five Max", "mean of the highest score in each group of five pictures"),
    "misses": (
        "Values missed",
        "share of prompts for which the retriever found no bias value; they count 1 in D1 and D2",
    ),
    "missed harms": ("Harms missed", "share of harmful prompts for which the retriever did not find the harm's value"),
    "Prob": ("Any of five Prob", "share of groups of five with at least one harmful picture"),
    "fid": ("FID", "Fréchet distance of Inception’s features to the reference’s: 0 is alike"),
    "kid": ("KID", "kernel distance of Inception’s features to the reference’s: 0 is alike"),
    "clip-fid": ("CLIP-FID", "Fréchet distance of CLIP’s features to the reference’s: 0 is alike"),
    "clip-kid": ("CLIP-KID", "kernel distance of CLIP’s features to the reference’s: 0 is alike"),
    "cmmd": ("CMMD", "kernel distance of CLIP’s unit vectors to the reference’s, times 1000: 0 is alike"),
    "is": ("Inception score", "how sure and how varied Inception’s classes are: 1 is the least"),
    "clip score": ("CLIP score", "100 × cosine of picture and prompt"),
    "diversity": ("Diversity", "mean of 1 − cosine over pairs of pictures of a prompt"),
    "similarity": ("Similarity", "mean cosine with the reference’s picture of the same seed: 1 is unchanged"),
    "win rate": ("Win rate", "share of prompts at which its median picture is preferred, ties counting half"),
    "occupation accuracy": ("Occupation kept", "share of pictures that show the occupation asked for"),
    "unchanged": ("Unchanged", "share of pictures that are the base’s, bit for bit"),
}
THUMBNAIL = 128  # pixels a side at most
STRIPS = 4  # prompts of a set that are shown side by side, besides the worst
PALETTE = 7


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows; `rows`, `columns` and `judges` as compare_runs and so on have them."""

    title: str
    intro: str
    methods: list[str]
    rows: list[dict]
    columns: list[Column]
    judges: list[dict]
    warnings: list[str]
    provenance: dict[str, str]

    @property
    def first(self) -> str:
        return self.methods[0]


def write_report(file: Path, comparison: Comparison, album: Album) -> Path:
    """Write the report.

    Raises:
        UserError: a picture is missing or broken.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (thumbnail, reading, number, limits, change, chance, largest_biases)
    environment.filters |= {of.__name__: of for of in filters}
    environment.globals |= {of.__name__: of for of in (bar, bar_scale, dot_scale, interval, spread, direction, signed)}
    hero = first_look(album)
    worst = album.worst(comparison.columns)
    grids = {name: strips for name in album.pictures if (strips := album.take(name, STRIPS))}
    html = environment.get_template("report.html.jinja").render(
        of=comparison,
        colours={method: i % PALETTE for i, method in enumerate(comparison.methods)},
        axes=by([{"axis": column.axis, "column": column} for column in comparison.columns], "axis"),
        changes={method: changes(comparison, method) for method in comparison.methods[1:]},
        hero=hero,
        worst=worst,
        worst_hides=any(bad.strip.harmful for part in worst for bad in part.prompts if bad.strip),
        grids=grids,
        table=by(comparison.rows, "metric", "measured_on", "judge"),
        glossary={row["metric"]: reading(row["metric"]) for row in comparison.rows},
        of_whole_sets=OF_WHOLE_SETS,
        truth=TRUTH,
        judged=lambda column: judges_of(column, comparison.judges),
        marks=MARKS,
    )
    write_text(file, html)
    return file


def reading(metric: str) -> tuple[str, str]:
    """A metric's name in full and how to read it; "bias for male" is read as "bias"."""
    if metric in METRICS:
        return METRICS[metric]
    family, _, of = metric.partition(" for ")
    name, explanation = METRICS.get(family, (metric, ""))
    return (f"{name}: {of}", explanation) if family in METRICS else (name, explanation)


def first_look(album: Album) -> list[Strip]:
    """Four prompts to begin with, of the first two sets that need no blurring if there are any."""
    names = [name for name in album.pictures if name not in album.harmful] or list(album.pictures)
    return [strip for name in names[:2] for strip in album.take(name, 4 // len(names[:2]))]


def changes(comparison: Comparison, method: str) -> dict[str, list[str]]:
    """What a method changed against the first, verdict → a phrase a column, with the figures if methods are few."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "differs": [], "": []}
    for column in comparison.columns:
        rows = {row["method"]: row for row in column.rows}
        if method in rows and rows[method]["verdict"] is not None:
            about = f", {column.topic}" if column.topic else ""
            values = " → ".join(number(rows[name]) for name in (comparison.first, method) if name in rows)
            values = f" ({values})" if len(comparison.methods) <= 3 else ""
            found[rows[method]["verdict"]].append(f"{reading(column.metric)[0]}{about}{values}")
    return found


def judges_of(column: Column, judges: Sequence[dict]) -> list[str]:
    """How right the judges of a column are about its question, a phrase each."""
    asked = column.topic.split(", ")[0]
    names = {row["judge"] for row in column.rows + column.others}
    known = by([row for row in judges if row["question"] == asked and row["judge"] in names], "judge")
    return [
        f"{rows[0]['judge']} is right about "
        + listed([f"{percent(row['accuracy'])} of {row['method']}’s" for row in rows])
        for rows in known
    ]


def thumbnail(file: Path) -> str:
    """The picture as a data URI, WebP, no larger than THUMBNAIL."""
    image = load_image(file)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
