"""Charts: similarities in two spaces, shares with their intervals, and one thing against another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion_base.files import replacing
from latent_directions.understanding.similarity import Relation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# the evaluation's report in light
TEXT, SOFT, LINE, FLOOR, CARD = "#1b1d22", "#5d626d", "#e2dfd7", "#b0413e", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b4589a", "#c08a00", "#3a9ad9", "#8b909b")
BLUE, ORANGE = COLOURS[:2]
DASHED = (0, (4, 3))
AROUND = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
NEAR = 9  # points between a mark and its name
PLACES = [(reach, side) for reach in (NEAR, 22, 38) for side in AROUND]  # where a name may lie, the best first
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


@dataclass(frozen=True)
class Mark:
    """A point of a chart, to be named; one that stands out is named first, and in any case."""

    x: float
    y: float
    name: str
    stands_out: bool = False


def place_labels(figure: "Figure", axes: "Axes", marks: Sequence[Mark]) -> None:
    """Names beside their points, where they cover neither points nor each other, and lines only if they have to.

    A name for which there is no such place is left out.
    """
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    lines = [box for line in axes.get_lines() if line.get_marker() != "o" for box in along(axes, line)]
    taken = [box for line in axes.get_lines() if line.get_marker() == "o" for box in along(axes, line)]
    for mark in sorted(marks, key=lambda mark: not mark.stands_out):
        for avoided, (reach, side) in product((True, False), PLACES):
            label = name_beside(axes, mark, reach, side)
            box = label.get_window_extent()
            within = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if within and not any(box.overlaps(other) for other in (taken + lines if avoided else taken)):
                taken.append(box)
                break
            label.remove()


def name_beside(axes: "Axes", mark: Mark, reach: float, side: tuple[int, int]) -> "Annotation":
    """A mark's name on one side of it, with a line to it where it is not near."""
    from matplotlib.patheffects import withStroke

    across, up = side
    return axes.annotate(
        mark.name,
        (mark.x, mark.y),
        xytext=(across * reach, up * reach),
        textcoords="offset points",
        ha=("center", "left", "right")[across],
        va=("center", "bottom", "top")[up],
        color=TEXT if mark.stands_out else SOFT,
        fontsize=9,
        fontweight="bold" if mark.stands_out else "normal",
        arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6} if reach > NEAR else None,
        path_effects=[withStroke(linewidth=2.5, foreground=CARD)],
    )


def along(axes: "Axes", line: "Line2D") -> "list[Bbox]":
    """Small boxes over a line, or over its one point, in pixels."""
    from matplotlib.transforms import Bbox

    ends = axes.transData.transform(line.get_xydata())
    steps = max(1, int(np.hypot(*(ends[-1] - ends[0])) / 8))
    reach = 6 if line.get_marker() == "o" else 2
    return [
        Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)
        for x, y in ends[0] + (ends[-1] - ends[0]) * np.linspace(0, 1, steps + 1)[:, None]
    ]


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
