"""95% intervals of a mean over prompts, and of the difference of two such means over the same prompts.

A studentised bootstrap ("bootstrap-t"; Efron & Tibshirani 1993, ch. 12): prompts are drawn again with replacement, and
the distribution of (mean* − mean) / se* takes the place of Student's t. With few prompts the usual percentile interval
is too narrow, because a sample of 8 spreads less than what it was drawn from; this one is not, and unlike Student's t
it follows skewed figures, such as rates near 0. Measured coverage (600 to 3,000 repetitions each):

    prompts   figures                      percentile   BCa    Student   this one
       4      skewed, near 0                 .74        .75      .84       .91
       8      normal                         .88        .88      .95       .95
       8      skewed, near 0                 .85        .88      .89       .95
       8      D1 at N = 50                   .88        .89      .95       .96
      36      D1 at N = 50                   .92        .94      .95       .96
     200      D1 at N = 50                                                 .96
       8      rates of 0.01, N = 25                                        .83
      36      rates of 0.01, N = 25                                        .98

What it cannot do is in the last rows: where eight prompts all show a rate of 0, nothing says how rare the harm is.

**Differences** of two methods over the same prompts have no such skew where the methods are alike, and following a skew
that is not there calls too many differences: one in ten comparisons of two halves of the same pictures, up to one in
five where most differences are 0. So their interval is symmetric: the distribution of |mean* − mean| / se* (Hall 1988).
Measured on figures of two halves of 25 pictures each (2,000 repetitions): a difference is called in 1–4% of comparisons
at 8 prompts, 4–5% at 36 and 200; and with a planted difference the interval covers it in 91–96% at 8, 94–96% at 36 and
95% at 200.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
# A resample may repeat one prompt, and its standard error be 0: this share of the sample's own is always added.
STEADY = 0.15
WIDER = float(np.hypot(1, STEADY))
ROUNDING = 1e-12
BLOCK = 2_000_000  # numbers drawn at a time: 16 megabytes


class Interval(NamedTuple):
    """A mean and the limits between which it lies with 95% confidence; the limits are None for a single value."""

    value: float
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """A mean difference, its 95% limits (None where so few prompts cannot tell), and how sure its sign is.

    `probability` is that of a difference above 0, as a confidence: 1 − p/2 for a difference above 0 and p/2 for one
    below, p being the share of resamples whose |t| reaches the sample's own. The limits leave 0 out exactly where it is
    at most 2.5% or at least 97.5%.
    """

    value: float
    low: float | None
    high: float | None
    probability: float

    @property
    def significant(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_interval(
    values: ArrayLike,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    resamples: int = RESAMPLES,
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
    mean, se = _mean_and_error(values)
    if len(values) == 1:
        return Interval(mean, None, None)
    if se == 0:
        return Interval(mean, mean, mean)
    tail = (1 - level) / 2
    t_low, t_high = np.quantile(_bootstrap_t(values - mean, se, resamples, seed), [tail, 1 - tail]) * WIDER
    return Interval(mean, max(bounds[0], float(mean - t_high * se)), min(bounds[1], float(mean - t_low * se)))


def paired_difference(
    values: ArrayLike,
    others: ArrayLike,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """The mean of values − others, prompt by prompt, with its interval.

    Args:
        values, others: (n,) figures of the same prompts in the same order, n ≥ 1.
        bounds: what each figure can be; the difference's limits are cut accordingly.

    Differences that are all the same have no spread that could tell. Then, as for n tosses of a coin that fell alike, p
    is 2^(1 − n), and there are limits, equal to the difference, from six prompts on.
    """
    differences = np.subtract(values, others, dtype=float)
    differences[np.abs(differences) <= ROUNDING] = 0
    n = len(differences)
    mean, se = _mean_and_error(differences)
    if se == 0:
        p = 2.0 ** (1 - n) if mean else 1.0
        limit = mean if 2.0 ** (1 - n) <= 0.05 else None
        return Difference(mean, limit, limit, 1 - p / 2 if mean > 0 else p / 2)
    t = np.abs(_bootstrap_t(differences - mean, se, resamples, seed))
    p = float(np.mean(t >= abs(mean) / (WIDER * se)))
    # an order statistic, not interpolated: so p ≤ .05 exactly where the interval leaves 0 out
    reach = float(np.quantile(t, 0.95, method="inverted_cdf")) * WIDER * se
    most = bounds[1] - bounds[0]
    low, high = max(-most, mean - reach), min(most, mean + reach)
    return Difference(mean, low, high, 1 - p / 2 if mean > 0 else p / 2)


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and its standard error, which is 0 where all values are equal but for rounding."""
    mean = float(values.mean())
    if len(values) == 1:
        return mean, 0.0
    se = float(values.std(ddof=1) / np.sqrt(len(values)))
    return mean, 0.0 if se <= ROUNDING * max(1.0, abs(mean)) else se


def _bootstrap_t(centred: NDArray[np.float64], se: float, resamples: int, seed: int) -> NDArray[np.float64]:
    """(mean* − mean) / se* of `resamples` resamples of values less their mean (n,)."""
    n = len(centred)
    powers = np.stack([centred, centred**2], axis=1) / n
    t, block = np.empty(resamples), max(1, BLOCK // n)
    for start in range(0, resamples, block):
        mean, square = (_counts(n, min(block, resamples - start), seed + start) @ powers).T
        variance = (square - mean**2).clip(0) / (n - 1)  # of the mean
        t[start : start + block] = mean / np.sqrt(variance + (STEADY * se) ** 2)
    return t


@lru_cache(maxsize=4)  # many figures have the same number of prompts
def _counts(n: int, rows: int, seed: int) -> NDArray[np.float64]:
    """How often each of n prompts is drawn in each of some resamples, (rows, n)."""
    drawn = np.random.default_rng(seed).integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)
