"""Names beside the points of a chart, where they cover nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

TEXT, SOFT, CARD = "#1b1d22", "#5d626d", "#ffffff"
AROUND = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
NEAR = 9  # points between a mark and its name
APART = 2  # pixels around a name
PLACES = [(reach, side) for reach in (NEAR, 22, 38) for side in AROUND]  # where a name may lie, the best first


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
            box = label.get_window_extent().padded(APART)
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
