"""A comparison's rows in words and digits, for Markdown and HTML alike."""

from collections.abc import Sequence

from evaluation.figures.record import Figure
from evaluation.report.paired import Change, Row

MARKS = {"better": "✓ better", "worse": "✗ worse", "differs": "≠ differs", "": "", None: ""}


def mark(change: Change | None) -> str:
    return "" if change is None else MARKS[change.verdict]


def number(figure: Figure) -> str:
    return plain(figure.value, figure.kind.decimals)


def limits(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    digits = figure.kind.decimals
    return f"[{plain(figure.low, digits)}, {plain(figure.high, digits)}]"


def worst(figure: Figure) -> str:
    """The unit that does worst: "0.96 hairdresser"; "" where none can."""
    if figure.worst is None:
        return ""
    return f"{plain(figure.worst[1], figure.kind.decimals)} {worst_unit(figure)}"


def worst_unit(figure: Figure) -> str:
    """Its name, and how many others do as badly."""
    if figure.worst is None:
        return ""
    unit, value = figure.worst
    as_bad = list(figure.per_unit.values()).count(value) - 1
    if as_bad and as_bad + 1 == len(figure.per_unit):
        return "all alike"
    return f"{unit} and {as_bad} more" if as_bad else unit


def past_limit(figure: Figure) -> str:
    """How many units are past the metric's limit: "3 of 8 > 0.5"; "" where there is none."""
    if figure.past is None:
        return ""
    return f"{sum(figure.past.values())} of {len(figure.past)} {figure.kind.limit_in_words}"


def plain(value: float, digits: int = 2) -> str:
    """What rounds to 0 has no sign."""
    return signed(value, digits).removeprefix("+")


def signed(value: float, digits: int = 2) -> str:
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(text[1:]) == 0 else text


def difference(change: Change | None, digits: int = 2) -> str:
    """The difference to the first method with its interval; "" where there is none."""
    if change is None:
        return ""
    text = signed(change.value, digits)
    if change.low is None or change.high is None:
        return text
    return f"{text} [{signed(change.low, digits)}, {signed(change.high, digits)}]"


def difference_of(row: Row) -> str:
    return difference(row.change, row.figure.kind.decimals)


def chance(change: Change | None) -> str:
    """The probability of being better, never rounded to certainty."""
    if change is None:
        return ""
    share = change.probability
    return "> 99.9%" if share > 0.999 else "< 0.1%" if share < 0.001 else f"{100 * share:.1f}%"


def percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")


def listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:-1]) + (" and " if texts[1:] else "") + texts[-1]
