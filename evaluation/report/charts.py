"""Bars, intervals and dots as inline SVG: 1,000 units wide, stretched to the page; strokes and dots keep their size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from evaluation.figures.metrics import Metric
from evaluation.figures.record import Figure, in_words
from evaluation.report.wording import short_names

WIDTH = 1000
ROW = 26  # height of a method's dots
LINE = 16  # of a unit's, which have its name beside them
NAMED = 40  # units of which each has its name
WORST = 8  # of more than these that have
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


def bar_scale(metric: Metric, figures: Sequence[Figure]) -> Scale:
    """From 0, as a bar's length has to be, to what the figure can be, or to a round number above all limits."""
    least, most = metric.bounds
    ends = [end for of in _with_seeds(figures) for end in (of.value, of.low, of.high, of.floor) if end is not None]
    low = 0.0 if min(ends) >= 0 else least if math.isfinite(least) else -_round_up(-min(ends))
    return Scale(low, most if math.isfinite(most) else _round_up(max(ends)))


def dot_scale(metric: Metric, figures: Sequence[Figure]) -> Scale:
    """What the figure can be, or the range of the units' own."""
    least, most = metric.bounds
    if math.isfinite(most - least):
        return Scale(0.0 if least == 0 else least, most)
    values = [value for figure in _with_seeds(figures) for value in figure.per_unit.values()]
    margin = 0.03 * (max(values) - min(values))
    return Scale(min(values) - margin, max(values) + margin)


def _with_seeds(figures: Sequence[Figure]) -> list[Figure]:
    return [each for figure in figures for each in (figure, *figure.seeds.values())]


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def bar(figure: Figure, others: Sequence[Figure], scale: Scale, colour: int) -> str:
    """A method's bar with its interval, the floor, a mark a training seed, and one for every other judge's figure."""
    zero, end = scale(0.0), scale(figure.value)
    parts = [f'<rect class="m{colour}" x="{min(zero, end)}" y="3" width="{max(abs(end - zero), 2):.1f}" height="12"/>']
    if figure.floor is not None:
        parts.append(f'<path class="floor" d="M{scale(figure.floor)} 0V18"/>')
    if figure.low is not None and figure.high is not None:
        parts.append(_whisker(scale(figure.low), scale(figure.high), 9))
    for seed, of in figure.seeds.items():
        parts.append(
            f'<path class="seed" d="M{scale(of.value)} 1v16"><title>seed {seed}: {in_words(of)}</title></path>'
        )
    for other in others:
        named = f"<title>{escape(other.judge)}: {in_words(other)}</title>"
        parts.append(f'<path class="other" d="M{scale(other.value)} 9h0">{named}</path>')
    return SVG.format(WIDTH, 18, 18, escape(f"{figure.method}: {in_words(figure)}"), "".join(parts))


def interval(figure: Figure, scale: Scale, colour: int) -> str:
    """A figure as a dot on its interval, small, for a cell of a table."""
    parts = ['<path class="track" d="M0 7H1000"/>']
    if figure.floor is not None:
        parts.append(f'<path class="floor" d="M{scale(figure.floor)} 2V12"/>')
    if figure.low is not None and figure.high is not None:
        parts.append(f'<path class="reach m{colour}" d="M{scale(figure.low)} 7H{scale(figure.high)}"/>')
    parts.append(f'<path class="dot m{colour}" d="M{scale(figure.value)} 7h0"/>')
    return SVG.format(WIDTH, 14, 14, escape(in_words(figure)), "".join(parts))


@dataclass(frozen=True)
class UnitDots:
    """One unit's dots, a method each: its name, short, and whether it is past the metric's limit in any of these."""

    unit: str
    name: str
    past: bool
    svg: str


def by_unit(figures: Sequence[Figure], scale: Scale, colours: Mapping[str, int]) -> list[UnitDots]:
    """A line of dots for each unit that all methods have, or for the worst of them: the worst first.

    A small dot is a training seed's, a large one a method's; a line leads from the first method's to the last's.
    """
    first, *others = figures
    units = [unit for unit in first.per_unit if all(unit in other.per_unit for other in others)]
    compared = [of for figure in others or [first] for of in figure.each_seed]
    fault = first.kind.fault
    names = short_names(units)
    units.sort(key=lambda unit: (-max(fault(of.per_unit[unit]) for of in compared), -fault(first.per_unit[unit])))
    return [
        UnitDots(
            unit,
            names[unit],
            first.kind.limit is not None and any(fault(of.per_unit[unit]) > first.kind.limit for of in compared),
            _dots(unit, figures, scale, colours),
        )
        for unit in units[: NAMED if len(units) <= NAMED else WORST]
    ]


def _dots(unit: str, figures: Sequence[Figure], scale: Scale, colours: Mapping[str, int]) -> str:
    middle, limit = LINE // 2, figures[0].kind.limit
    ends = [scale(figure.per_unit[unit]) for figure in (figures[0], figures[-1])]
    parts = [
        f'<path class="track" d="M0 {middle}H{WIDTH}"/>',
        f'<path class="same" d="M{ends[0]} {middle}H{ends[1]}"/>',
    ]
    if limit is not None:
        parts.insert(0, f'<path class="limit" d="M{scale(limit)} 0V{LINE}"/>')
    said = []
    for figure in figures:
        own = [*((of, f", seed {seed}", " small") for seed, of in figure.seeds.items()), (figure, "", "")]
        for of, which, small in own:
            title = f"{figure.method}{which}: {of.per_unit[unit]:.3g}"
            at = f"M{scale(of.per_unit[unit])} {middle}h0"
            drawn = f'<path class="dot m{colours[figure.method]}{small}" d="{at}"><title>{escape(title)}</title></path>'
            parts.append(drawn)
        said.append(f"{figure.method} {figure.per_unit[unit]:.3g}")
    return SVG.format(WIDTH, LINE, LINE, escape(f"{unit}: {', '.join(said)}"), "".join(parts))


def spread(figures: Sequence[Figure], scale: Scale, colours: Mapping[str, int]) -> str:
    """A dot a unit, the methods below one another, a line from each unit to itself, and the metric's limit."""
    first, *others = figures
    units = [unit for unit in first.per_unit if all(unit in other.per_unit for other in others)]
    units = sorted(units, key=lambda unit: first.per_unit[unit])
    units = units[:: max(1, math.ceil(len(units) / MANY))]
    height, lines, dots = ROW * len(figures), [], []
    for i, figure in enumerate(figures):
        y = ROW * i + ROW // 2
        for unit in units:
            value = figure.per_unit[unit]
            if i:
                before = scale(figures[i - 1].per_unit[unit])
                lines.append(f"M{before} {y - ROW}L{scale(value)} {y}")
            title = f"<title>{escape(unit)}: {value:.3g} ({escape(figure.method)})</title>"
            dots.append(f'<path class="dot m{colours[figure.method]}" d="M{scale(value)} {y}h0">{title}</path>')
    label = f"{len(units)} {first.unit}s, a dot each: {', '.join(figure.method for figure in figures)}"
    limit = first.kind.limit
    marked = "" if limit is None else f'<path class="limit" d="M{scale(limit)} 0V{height}"/>'
    drawn = f'{marked}<path class="same" d="{"".join(lines)}"/>' + "".join(dots)
    return SVG.format(WIDTH, height, height, escape(label), drawn)


def _whisker(low: float, high: float, y: int) -> str:
    return f'<path class="whisker" d="M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"/>'
