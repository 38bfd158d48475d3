"""A comparison's rows in words and digits, for Markdown and HTML alike."""

from collections.abc import Sequence

from evaluation.figures.from_scores import DECIMALS

MARKS = {"better": "✓ better", "worse": "✗ worse", "differs": "≠ differs", "": "", None: ""}


def number(row: dict) -> str:
    return plain(row["value"], _digits(row))


def limits(row: dict) -> str:
    if row["low"] is None:
        return ""
    return f"[{plain(row['low'], _digits(row))}, {plain(row['high'], _digits(row))}]"


def plain(value: float, digits: int = 2) -> str:
    """What rounds to 0 has no sign."""
    return signed(value, digits).removeprefix("+")


def signed(value: float, digits: int = 2) -> str:
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(text[1:]) == 0 else text


def change(row: dict) -> str:
    """The difference to the first method with its interval; "" where there is none."""
    if row["difference"] is None:
        return ""
    digits = _digits(row)
    limits = [row["difference_low"], row["difference_high"]]
    text = signed(row["difference"], digits)
    return text if None in limits else f"{text} [{', '.join(signed(limit, digits) for limit in limits)}]"


def chance(row: dict) -> str:
    """The probability of being better, never rounded to certainty."""
    if row["probability"] is None:
        return ""
    share = row["probability"]
    return "> 99.9%" if share > 0.999 else "< 0.1%" if share < 0.001 else f"{100 * share:.1f}%"


def percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")


def listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:-1]) + (" and " if texts[1:] else "") + texts[-1]


def largest_biases(judged: dict, at_most: int = 3) -> list[tuple[str, float, float | None, float | None]]:
    """(label, bias, low, high) of a judge, the largest first; none that is 0."""
    biases = zip(judged["labels"], judged["bias"], judged["bias_low"], judged["bias_high"], strict=True)
    return sorted((of for of in biases if of[1]), key=lambda of: -abs(of[1]))[:at_most]


def _digits(row: dict) -> int:
    return DECIMALS.get(row["metric"], 2)
