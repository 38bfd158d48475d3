"""Heat maps of a sweep, and curves with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from latent_directions.recommend import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "share": "shows {shown}",
    "imbalance": "imbalance D1",
    "accuracy": "subject right",
    "clip_score": "CLIP score",
    "diversity": "diversity",
    "similarity": "similarity to the base",
}


def draw_maps(points: Sequence[Point], best: Point, shown: str) -> "Figure":
    """A map a figure, a row a step and a column a weight; the recommended point is framed."""
    from matplotlib.figure import Figure  # slow to import, and needed only here
    from matplotlib.patches import Rectangle

    base = next(point for point in points if point.weight == 0)
    weights = sorted({point.weight for point in points})
    steps = sorted({point.step for point in points if point is not base} or {base.step})
    known = {(point.step, point.weight): point for point in points} | {(step, 0.0): base for step in steps}
    figure = Figure(figsize=(0.7 * len(weights) * 3 + 2, (0.5 * len(steps) + 1.1) * 2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
        values = [[getattr(known[step, weight], name) for weight in weights] for step in steps]
        image = axes.imshow(values, aspect="auto", cmap="viridis")
        middle = (max(map(max, values)) + min(map(min, values))) / 2
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                colour = "black" if value > middle else "white"
                axes.text(x, y, f"{value:.3g}", ha="center", va="center", fontsize=7, color=colour)
        frame = weights.index(best.weight) - 0.5, steps.index(best.step) - 0.5
        axes.add_patch(Rectangle(frame, 1, 1, fill=False, edgecolor="red", linewidth=2))
        axes.set(title=title.format(shown=shown), xlabel="weight", ylabel="step")
        axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
        axes.set_yticks(range(len(steps)), ["noise" if step < 0 else str(step) for step in steps])
        figure.colorbar(image, ax=axes)
    return figure


@dataclass(frozen=True)
class Curve:
    """Values over a number: the panel that it is drawn in, what the line is called, the axis, and at each x the value
    with its limits."""

    panel: str
    line: str
    axis: str
    points: Sequence[tuple[float, float, float, float]]


def draw_curves(curves: Sequence[Curve]) -> "Figure":
    """A panel for the curves of each name, side by side."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    panels = [list(same) for _, same in groupby(curves, lambda curve: curve.panel)]
    figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
    for number, same in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for i, curve in enumerate(same):
            x, values, low, high = zip(*curve.points, strict=True)
            axes.plot(x, values, marker="o", color=f"C{i}", label=curve.line)
            axes.fill_between(x, low, high, color=f"C{i}", alpha=0.15)
        axes.set(title=same[0].panel, xlabel=same[0].axis)
        axes.legend()
    return figure
