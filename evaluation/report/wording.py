"""A comparison's rows in words and digits, for Markdown and HTML alike."""

from collections.abc import Iterable, Sequence

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
    """Its name, in which training seed if there are several, and how many others do as badly."""
    if figure.worst is None:
        return ""
    unit, value = figure.worst
    values = [own for of in figure.each_seed for own in of.per_unit.values()]
    as_bad = values.count(value) - 1
    if as_bad and as_bad + 1 == len(values):
        return "all alike"
    named = f"{unit}, seed {figure.seed_of_worst}" if figure.seeds else unit
    return f"{named} and {as_bad} more" if as_bad else named


def seeds(figure: Figure) -> str:
    """What the training seeds' values are: "3 seeds 0.02 to 0.15 (sd 0.07), worst seed 0"; "" where there is one."""
    if not figure.seeds:
        return ""
    digits, values = figure.kind.decimals, figure.seed_values
    least, most, spread = plain(min(values), digits), plain(max(values), digits), plain(figure.spread or 0.0, digits)
    if least == most:
        return f"{len(values)} seeds, all {least}"
    found = f"{len(values)} seeds {least} to {most} (sd {spread})"
    return found if figure.worst_seed is None else f"{found}, worst seed {figure.worst_seed}"


def short_names(units: Iterable[str]) -> dict[str, str]:
    """Each unit without the words that all of them begin with, "a" and "an" being the same: "a photo of a pilot" is
    "pilot" among others."""
    words = {unit: unit.split(" ") for unit in units}
    while len(words) > 1 and all(len(own) > 1 for own in words.values()):
        if len({"a" if own[0] == "an" else own[0] for own in words.values()}) > 1:
            break
        words = {unit: own[1:] for unit, own in words.items()}
    return {unit: " ".join(own) for unit, own in words.items()}


def past_limit(figure: Figure) -> str:
    """How many units, of each training seed, are past the metric's limit: "3 of 8 > 0.5"; "" where there is none."""
    if figure.past is None:
        return ""
    k = len(figure.each_seed)
    return f"{round(k * sum(figure.past.values()))} of {k * len(figure.past)} {figure.kind.limit_in_words}"


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
