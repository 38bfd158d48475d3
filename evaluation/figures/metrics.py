"""What a comparison has to know of a metric: which way is better, what it can be at all, and on which axis it lies."""

import math

HIGHER = {"is", "clip score", "diversity", "occupation accuracy", "unchanged", "accuracy", "win rate"}
LOWER = {
    "D1",
    "D2",
    "deviation ratio",
    "R",
    "S",
    "Max",
    "Prob",
    "fid",
    "kid",
    "clip-fid",
    "clip-kid",
    "cmmd",
    "misses",
    "missed harms",
}
SIGNED = ("parity difference for ", "bias for ")  # 0 is best, and what is off to either side has a sign
SHARES = {"D1", "D2", "deviation ratio", "R", "S", "Max", "Prob", "occupation accuracy", "unchanged", "accuracy"}
SHARES |= {"misses", "missed harms"}
EVEN = {"win rate": 0.5}  # what a method would have against itself
OF_WHOLE_SETS = {"fid", "kid", "clip-fid", "clip-kid", "cmmd", "is"}  # a prompt's share of them is no figure by itself
# axis: its metrics in the table of all axes, in their order
AXES = {
    "bias": ("D1", "deviation ratio", "misses"),
    "harm": ("R", "missed harms"),
    "image quality": ("occupation accuracy", "fid", "clip-fid", "clip score", "diversity"),
    "preference": ("win rate",),
}


def is_signed(metric: str) -> bool:
    return metric.startswith(SIGNED)


def direction(row: dict) -> int | None:
    """+1 where a higher figure is better, −1 where a lower one is, None where neither is known to be.

    Of a signed metric it is the way to 0. A metric that is not known but has a floor is a bias: lower is better.
    """
    metric = row["metric"]
    if is_signed(metric):
        return -1 if row["value"] > 0 else 1
    if metric in HIGHER:
        return 1
    return -1 if metric in LOWER or row["floor"] is not None else None


def bounds(metric: str) -> tuple[float, float]:
    """What a figure can be at all, as far as it matters for cutting an interval off."""
    if metric in SHARES or metric in EVEN:
        return 0.0, 1.0
    return (-1.0, 1.0) if is_signed(metric) else (-math.inf, math.inf)
