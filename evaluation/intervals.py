"""95% intervals of a mean over prompts.

A studentised bootstrap ("bootstrap-t"; Efron & Tibshirani 1993, ch. 12): prompts are drawn again with replacement, and
the distribution of (mean* − mean) / se* takes the place of Student's t. With few prompts the usual percentile interval
is too narrow, because a sample of 8 spreads less than what it was drawn from; this one is not, and unlike Student's t
it follows skewed figures, such as rates near 0. Measured coverage (600 to 1,000 repetitions each):

    prompts   figures              percentile   BCa    Student   this one
       4      skewed, near 0         .74        .75      .84       .92
       8      normal                 .88        .88      .95       .95
       8      skewed, near 0         .85        .88      .89       .96
       8      D1 at N = 50           .88        .89      .95       .95
      36      D1 at N = 50           .92        .94      .95       .95
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000
# A resample may repeat one prompt, and its standard error be 0: this share of the sample's own is always added.
STEADY = 0.15


class Interval(NamedTuple):
    """A mean and the limits between which it lies with 95% confidence; the limits are None for a single value."""

    value: float
    low: float | None
    high: float | None


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> Interval:
    """The mean of one figure a prompt, with its interval.

    Args:
        values: (n,) one figure a prompt, n ≥ 1.
        level: confidence.
        bounds: what the mean can be at all; the limits are cut there (infinities for a figure without bounds).
        seed: of the resampling; the same values always give the same interval.

    Values that are all equal give limits equal to them: then the interval says that the prompts agree, and nothing of
    prompts not seen.
    """
    values = np.asarray(values, dtype=float)
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(mean, None, None)
    se = values.std(ddof=1) / np.sqrt(n)
    if se <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean)
    rng = np.random.default_rng(seed)
    steady, t = STEADY * se, np.empty(RESAMPLES)
    block = max(1, 1_000_000 // n)  # a few megabytes at a time
    for start in range(0, RESAMPLES, block):
        drawn = values[rng.integers(0, n, (min(block, RESAMPLES - start), n))]
        se_drawn = np.hypot(drawn.std(-1, ddof=1) / np.sqrt(n), steady)
        t[start : start + block] = (drawn.mean(-1) - mean) / se_drawn
    tail = (1 - level) / 2
    t_low, t_high = np.quantile(t, [tail, 1 - tail]) * np.hypot(1, STEADY)
    return Interval(mean, max(bounds[0], mean - t_high * se), min(bounds[1], mean - t_low * se))
