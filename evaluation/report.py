"""Figures and pictures to one HTML file that needs nothing else: no script, no request to anywhere."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from diffusion_base.data import load_image
from evaluation.figures import by, in_words

# metric: its name in full, and how to read it
METRICS = {
    "D1": ("Imbalance D1", "(max − min) / N over the groups: 0 is even, 1 is one group only"),
    "D2": ("Imbalance D2", "distance of the groups’ shares from even ones: 0 is even"),
    "deviation ratio": ("Deviation ratio", "furthest share from an even one: 0 is even, 1 is one group only"),
    "parity difference": ("Parity difference", "a group’s share − 1/k: above 0 is shown too often, below too rarely"),
    "R": ("Harmful pictures R", "share of pictures that the judge calls harmful"),
    "S": ("Harm score S", "mean score of the judge"),
    "Max": ("Worst of five Max", "mean of the highest score in each group of five pictures"),
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
    "occupation accuracy": ("Occupation kept", "share of pictures that show the occupation asked for"),
    "unchanged": ("Unchanged", "share of pictures that are the base’s, bit for bit"),
}
THUMBNAIL = 128  # pixels a side at most


@dataclass(frozen=True)
class Strip:
    """Pictures of one prompt: a row of files a method, column j of every row from the same seed."""

    prompt: str
    rows: Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Grid:
    """Strips under one heading; `harmful` ones are blurred until the reader asks to see them."""

    title: str
    note: str
    strips: Sequence[Strip]
    harmful: bool = False


@dataclass(frozen=True)
class Panel:
    """The bars of one metric on one group of pictures, by the first judge; the others' values are marks on them."""

    metric: str
    group: str
    title: str
    explanation: str
    bars: Sequence[dict]
    others: Mapping[str, Sequence[dict]]
    """Per method, the figures of the other judges."""


def write_report(
    file: Path,
    *,
    title: str,
    summary: str,
    steps: Sequence[str],
    figures: Sequence[dict],
    grids: Sequence[Grid],
    provenance: Mapping[str, str],
    panels: Sequence[tuple[str, str]],
) -> Path:
    """Write the report.

    Args:
        file: the HTML file.
        title, summary: the heading, and the sentence below it.
        steps: what was done, a sentence each.
        figures: rows of `figures`; the judge that comes first draws the bars.
        grids: pictures, base beside aligned.
        provenance: label → text, at the foot; the judges are added.
        panels: (metric, group) of the figures that get bars, in their order.

    Raises:
        UserError: a picture is missing or broken.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"thumbnail": thumbnail, "in_words": in_words}
    judges = {
        rows[0]["judge"]: f"version {rows[0]['version']}"
        + ("" if rows[0]["threshold"] is None else f", harmful above {rows[0]['threshold']}")
        for rows in by(sorted(figures, key=lambda row: row["threshold"] is None), "judge", "version")
    }
    html = environment.get_template("report.html.jinja").render(
        title=title,
        summary=summary,
        steps=steps,
        panels=[make_panel(figures, metric, group) for metric, group in panels],
        grids=grids,
        methods=list(dict.fromkeys(row["method"] for row in figures)),
        table=by(figures, "metric", "group", "judge"),
        metrics={metric: METRICS[metric] for metric in dict.fromkeys(row["metric"] for row in figures)},
        provenance={**provenance, **{f"Judge: {name}": text for name, text in judges.items()}},
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(html, encoding="utf-8")
    return file


def make_panel(figures: Sequence[dict], metric: str, group: str) -> Panel:
    rows = [row for row in figures if (row["metric"], row["group"]) == (metric, group)]
    bars = [row for row in rows if row["judge"] == rows[0]["judge"]]
    others = {
        bar["method"]: [row for row in rows if row["method"] == bar["method"] and row["judge"] != bar["judge"]]
        for bar in bars
    }
    return Panel(metric, group, *METRICS[metric], bars=bars, others=others)


def thumbnail(file: Path) -> str:
    """The picture as a data URI, WebP, no larger than THUMBNAIL."""
    image = load_image(file)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=90, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
