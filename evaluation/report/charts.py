"""Bars, intervals and dots as inline SVG: 1,000 units wide, stretched to the page; strokes and dots keep their size."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from evaluation.figures.from_scores import in_words
from evaluation.figures.metrics import bounds

WIDTH = 1000
ROW = 26  # height of a method's dots
MANY = 300  # prompts of which no more are drawn
SVG = '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" height="{}" role="img" aria-label="{}">{}</svg>'


class Scale:
    """Figures to units: `low` at 0, `high` at WIDTH."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high if high > low else low + 1

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(WIDTH * min(1.0, max(0.0, share)), 1)

    @property
    def ticks(self) -> list[str]:
        middle = (self.low + self.high) / 2
        return [f"{tick:.3g}" for tick in (self.low, middle, self.high)]


def bar_scale(metric: str, rows: Sequence[dict]) -> Scale:
    """From 0, as a bar's length has to be, to what the figure can be, or to a round number above all limits."""
    least, most = bounds(metric)
    ends = [row[key] for row in rows for key in ("value", "low", "high", "floor") if row[key] is not None]
    low = 0.0 if min(ends) >= 0 else least if math.isfinite(least) else -_round_up(-min(ends))
    return Scale(low, most if math.isfinite(most) else _round_up(max(ends)))


def dot_scale(metric: str, rows: Sequence[dict]) -> Scale:
    """What the figure can be, or the range of the prompts' own."""
    least, most = bounds(metric)
    if math.isfinite(most):
        return Scale(0.0 if least == 0 else least, most)
    shares = [share for row in rows for share in row["per_prompt"].values()]
    margin = 0.03 * (max(shares) - min(shares))
    return Scale(min(shares) - margin, max(shares) + margin)


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def bar(row: dict, others: Sequence[dict], scale: Scale, colour: int) -> str:
    """A method's bar with its interval, the floor, and a diamond for every other judge's figure."""
    zero, end = scale(0.0), scale(row["value"])
    parts = [f'<rect class="m{colour}" x="{min(zero, end)}" y="3" width="{max(abs(end - zero), 2):.1f}" height="12"/>']
    if row["floor"] is not None:
        parts.append(f'<path class="floor" d="M{scale(row["floor"])} 0V18"/>')
    if row["low"] is not None:
        parts.append(_whisker(scale(row["low"]), scale(row["high"]), 9))
    for other in others:
        named = f"<title>{escape(other['judge'])}: {in_words(other)}</title>"
        parts.append(f'<path class="other" d="M{scale(other["value"])} 9h0">{named}</path>')
    return SVG.format(WIDTH, 18, 18, escape(f"{row['method']}: {in_words(row)}"), "".join(parts))


def interval(row: dict, scale: Scale, colour: int) -> str:
    """A figure as a dot on its interval, small, for a cell of a table."""
    parts = ['<path class="track" d="M0 7H1000"/>']
    if row["floor"] is not None:
        parts.append(f'<path class="floor" d="M{scale(row["floor"])} 2V12"/>')
    if row["low"] is not None:
        parts.append(f'<path class="reach m{colour}" d="M{scale(row["low"])} 7H{scale(row["high"])}"/>')
    parts.append(f'<path class="dot m{colour}" d="M{scale(row["value"])} 7h0"/>')
    return SVG.format(WIDTH, 14, 14, escape(in_words(row)), "".join(parts))


def spread(rows: Sequence[dict], scale: Scale, colours: Mapping[str, int]) -> str:
    """A dot a prompt, the methods below one another, with a line from each prompt to itself."""
    prompts = [prompt for prompt in rows[0]["per_prompt"] if all(prompt in row["per_prompt"] for row in rows)]
    prompts = sorted(prompts, key=lambda prompt: rows[0]["per_prompt"][prompt])
    prompts = prompts[:: max(1, math.ceil(len(prompts) / MANY))]
    height, lines, dots = ROW * len(rows), [], []
    for i, row in enumerate(rows):
        y = ROW * i + ROW // 2
        for prompt in prompts:
            share = row["per_prompt"][prompt]
            if i:
                before = scale(rows[i - 1]["per_prompt"][prompt])
                lines.append(f"M{before} {y - ROW}L{scale(share)} {y}")
            title = f"<title>{escape(prompt)}: {share:.3g} ({escape(row['method'])})</title>"
            dots.append(f'<path class="dot m{colours[row["method"]]}" d="M{scale(share)} {y}h0">{title}</path>')
    label = f"{len(prompts)} prompts, a dot each: {', '.join(row['method'] for row in rows)}"
    drawn = f'<path class="same" d="{"".join(lines)}"/>' + "".join(dots)
    return SVG.format(WIDTH, height, height, escape(label), drawn)


def _whisker(low: float, high: float, y: int) -> str:
    return f'<path class="whisker" d="M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"/>'
