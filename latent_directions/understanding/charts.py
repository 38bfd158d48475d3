"""Charts: similarities in two spaces, shares with their intervals, and one thing against another."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion_base.files import replacing
from latent_directions.understanding.labels import CARD, SOFT, TEXT, Mark, place_labels
from latent_directions.understanding.similarity import Relation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, FLOOR = "#e2dfd7", "#b0413e"  # the evaluation's report in light, as in labels.py
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b4589a", "#c08a00", "#3a9ad9", "#8b909b")
BLUE, ORANGE = COLOURS[:2]
CHOICES = 6  # colours of a group's choices: the page has the seventh for the base
VARIABLES = {TEXT: "text", SOFT: "soft", LINE: "line", FLOOR: "floor", CARD: "card"} | {
    colour: f"m{1 + i}" for i, colour in enumerate(COLOURS[:CHOICES])
}
DASHED = (0, (4, 3))
FEW = 24  # attributes up to which all are named
ROW = 0.3  # inches
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """A value with the limits of its interval, None where there are none."""

    value: float
    low: float | None = None
    high: float | None = None


def new_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # slow to import, and needed only here

    return Figure((width, height), layout="constrained")


def styled(axes: "Axes", grid: str = "both") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, length=0, labelsize=9)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def save(figure: "Figure", file: Path) -> None:
    with replacing(file) as partial:
        figure.savefig(partial, format="png", dpi=150, facecolor=CARD)


def scatter(concept: str, found: Sequence[Relation]) -> "Figure":
    """An attribute a dot: across where the text encoder puts it, up where the pictures do; the misaligned by name."""
    figure = new_figure(7, 6.4)
    axes = figure.subplots()
    styled(axes)
    deviation = np.std([of.image for of in found]) or 1.0
    ends = [place for of in found for place in (of.text_place, of.image_place)]
    low, high = min(ends) - 0.4, max(ends) + 0.4
    axes.plot([low, high], [low, high], color=SOFT, linewidth=1, linestyle=DASHED, zorder=1)
    marks = []
    for of in found:
        x, y, colour = of.text_place, of.image_place, ORANGE if of.misaligned else BLUE
        if of.low is not None and of.high is not None:
            limits = [y + (end - of.image) / deviation for end in (of.low, of.high)]
            axes.plot([x, x], limits, color=colour, alpha=0.45, linewidth=1.6)
        axes.plot(x, y, "o", color=colour, markersize=7)
        if of.misaligned or len(found) <= FEW:
            marks.append(Mark(x, y, of.attribute, of.misaligned))
    axes.set_xlim(low, high)
    axes.set_xlabel("text encoder: standard deviations above the attributes’ mean", color=TEXT)
    axes.set_ylabel("pictures: standard deviations above the attributes’ mean", color=TEXT)
    count = sum(of.misaligned for of in found)
    says = f"disagree about {count} of {len(found)} attributes" if count else "agree on the attributes"
    axes.set_title(f"“{concept}”: text and pictures {says}", color=TEXT, loc="left", fontsize=12)
    place_labels(figure, axes, marks)
    return figure


def similarity_bars(concept: str, found: Sequence[Relation]) -> "Figure":
    """The cosines themselves, a row an attribute, the text encoder's on the left and the pictures' on the right."""
    rows = sorted(found, key=lambda of: of.text)
    figure = new_figure(9, 1.5 + ROW * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    left.barh(places, [of.text for of in rows], color=COLOURS[0], height=0.62)
    right.barh(places, [of.image for of in rows], color=COLOURS[2], height=0.62)
    for place, of in zip(places, rows, strict=True):
        if of.low is not None and of.high is not None:
            right.plot([of.low, of.high], [place, place], color=TEXT, linewidth=1.4)
    for axes, title in ((left, "text encoder"), (right, "pictures, all pairs")):
        styled(axes, "x")
        axes.axvline(0, color=SOFT, linewidth=0.8)
        axes.set_title(title, color=TEXT, loc="left", fontsize=11)
        axes.set_xlabel("cosine", color=SOFT)
    left.set_yticks(places, [of.attribute for of in rows])
    left.tick_params(axis="y", labelcolor=TEXT, labelsize=10)
    figure.suptitle(f"How near “{concept}” is to each attribute", color=TEXT, x=0.01, ha="left", fontsize=12)
    return figure


def radar(concept: str, found: Sequence[Relation]) -> "Figure":
    """Both spaces around one centre, each from its least similar attribute (centre) to its most similar (rim)."""
    figure = new_figure(7.4, 7)
    axes = figure.add_subplot(projection="polar")
    angles: Array = np.linspace(0, 2 * np.pi, len(found), endpoint=False)
    for values, colour, label in (
        ([of.text for of in found], COLOURS[0], "text encoder"),
        ([of.image for of in found], COLOURS[2], "pictures"),
    ):
        spread = max(values) - min(values) or 1.0
        lengths = 0.12 + 0.88 * (np.array(values) - min(values)) / spread  # so that the least is seen, too
        around: Array = np.append(angles, angles[0])
        outline: Array = np.append(lengths, lengths[0])
        axes.plot(around, outline, color=colour, linewidth=2, label=label)
        axes.fill(around, outline, color=colour, alpha=0.14)
    axes.set_xticks(angles, [of.attribute for of in found])
    axes.tick_params(axis="x", labelcolor=TEXT, labelsize=10, pad=10)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.12, 0.56], [])
    axes.grid(color=LINE)
    axes.spines["polar"].set_color(LINE)
    for text, angle in zip(axes.get_xticklabels(), angles, strict=True):
        side = np.cos(angle)
        text.set_horizontalalignment("center" if abs(side) < 0.2 else "left" if side > 0 else "right")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=TEXT)
    figure.suptitle(f"“{concept}” among the attributes", color=TEXT, x=0.01, ha="left", fontsize=12)
    return figure


def share_bars(
    title: str, names: Sequence[str], bars: Mapping[str, Sequence[Bar]], even: float | None = None
) -> "Figure":
    """Shares of pictures, a row a name, one bar for each of several sets of pictures beside the others.

    Args:
        bars: by the set's name, a bar for each of `names`.
        even: where a line says how large equal shares would be.
    """
    figure = new_figure(8, 1.4 + ROW * len(names) * max(1.15, 0.75 * len(bars)))
    axes = figure.subplots()
    styled(axes, "x")
    height = 0.78 / len(bars)
    for number, (of, values) in enumerate(bars.items()):
        places = [row + height * (number - (len(bars) - 1) / 2) for row in range(len(names))]
        colour = COLOURS[number % len(COLOURS)]
        axes.barh(places, [bar.value for bar in values], height=height * 0.9, color=colour, label=of)
        for place, bar in zip(places, values, strict=True):
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [place, place], color=TEXT, linewidth=1.4)
    if even is not None:
        axes.axvline(even, color=FLOOR, linewidth=1.6, linestyle=DASHED, label="even shares")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=TEXT, labelsize=10)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of pictures, with 95% intervals", color=SOFT)
    axes.set_title(title, color=TEXT, loc="left", fontsize=12)
    if len(bars) > 1 or even is not None:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=TEXT, fontsize=9)
    return figure


def prediction(sets: Mapping[int, Sequence[Mark]], across: str, few: int) -> "Figure":
    """Shares drawn (up) over similarities (across), with a line a choice, all of one slope, that fit them best.

    Args:
        sets: the points of each choice, by its number in the group.
        across: what the similarities are.
        few: points up to which all are named; of more, as many that lie farthest from their line.
    """
    figure = new_figure(5.6, 4.4)
    axes = figure.subplots()
    styled(axes)
    places = {number: np.array([(mark.x, mark.y) for mark in own]) for number, own in sets.items()}
    centred = np.concatenate([points - points.mean(0) for points in places.values()])
    slope = float(np.polyfit(centred[:, 0], centred[:, 1], 1)[0])
    off = np.abs(centred[:, 1] - slope * centred[:, 0])
    for number, points in places.items():
        colour, (x, y) = COLOURS[number % CHOICES], points.mean(0)
        ends = np.array([points[:, 0].min(), points[:, 0].max()])
        axes.plot(ends, y + slope * (ends - x), color=colour, linewidth=1, linestyle=DASHED, zorder=1)
        for point in points:
            axes.plot(*point, "o", color=colour, markersize=6, alpha=0.85)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel(across, color=TEXT)
    axes.set_ylabel("share of pictures", color=TEXT)
    marks = [mark for own in sets.values() for mark in own]
    place_labels(figure, axes, [marks[i] for i in np.argsort(-off)[:few]])
    return figure


def inline_svg(figure: "Figure") -> str:
    """The figure as SVG inside a page of diffusion_base.page: its colours are the page's, in light and dark."""
    import matplotlib

    for label in [label for axes in figure.axes for label in axes.texts]:
        label.set_path_effects([])  # a label with effects is written as outlines; the page's style gives it its own
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)  # a style would be the whole page's
    text = re.sub(
        r'<svg[^>]* viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1, flags=re.DOTALL
    )
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # ids that all figures of matplotlib share
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    # markers are drawn in a tree of their own, which the page's rules for paths reach, and a plot's exceptions do not
    text = re.sub(r'(<path id="[^>]* style=")', r"\1fill: inherit; vector-effect: none; ", text)
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return text
