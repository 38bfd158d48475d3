"""95% intervals of a mean over prompts, and of the difference of two such means over the same prompts.

**Figures with bounds**, such as shares, have Gaffke's interval (2005; Learned-Miller & Thomas 2019): the Bayesian
bootstrap (Rubin 1981) of the prompts and one more, which lies at the lower bound for the lower limit and at the upper
for the upper. The limits are the 2.5% and 97.5% points of the mean, all weights that sum to 1 being as likely. So there
is room for prompts not seen, however well those seen agree: where n of them agree, the one more weighs 1 − .025^(1/n),
.37 at 8, .17 at 20, .10 at 36, .02 at 200. No upper limit that fails in 1 of 40 samples at most can be lower there:
where that share of prompts fails wholly, 1 of 40 samples shows none. More pictures of the same prompts do not help.

For prompts that fail wholly or not at all the limits are Clopper & Pearson's (1934). That they hold for all others is a
conjecture to which no exception is known; intervals with a proof are wider, by a quarter at 8 and half at 200 prompts.

Coverage, and mean width, of a studentised bootstrap and of this one (2,000 repetitions, standard error .005 at .95;
`python benchmarks/interval_coverage.py`, docs/intervals.md has more):

                    covered                                   width
    prompts                8        20        36       200           8        20        36       200
    normal          .95 1.00  .95 1.00  .95 1.00   .95 .98     .26 .40   .14 .21   .10 .14   .04 .05
    beta near 0      .96 .99   .97 .99   .97 .99   .96 .97     .55 .46   .27 .27   .18 .20   .07 .07
    D1               .96 .99   .97 .99   .97 .98   .95 .96     .61 .49   .30 .30   .21 .22   .08 .09
    rate .01         .61 .99   .91 .99   .97 .98   .96 .98     .07 .38   .06 .17   .03 .10   .01 .02
    rate .02         .83 .98   .98 .99   .98 .98   .95 .98     .10 .38   .06 .18   .03 .11   .01 .02
    rate .05         .97 .99   .98 .98   .96 .98   .95 .98     .13 .39   .06 .19   .04 .11   .02 .03
    rate .10         .94 .99   .96 .99   .95 .99   .95 .98     .15 .39   .08 .19   .06 .12   .02 .03
    1 in 8 fails     .66 .99   .92 .99   .98 .98   .96 .97     .64 .48   .53 .30   .29 .22   .09 .09
    1 in 20 fails    .62 .99   .65 .98   .82 .99   .97 .96     .34 .42   .32 .24   .24 .16   .06 .06
    0 or 1, .02      .15 .99   .33 .99   .49 .99   .96 .96     .15 .39   .16 .20   .15 .13   .07 .04
    0 or 1, .1       .56 .99   .87 .99   .95 .95   .96 .97     .54 .47   .57 .29   .37 .22   .09 .09
    0 or 1, .3       .94 .99   .98 .98   .99 .96   .95 .96     .86 .61   .50 .41   .32 .32   .13 .13
    0 or 1, .5       .99 .99   .98 .97   .94 .97   .96 .96     .89 .65   .45 .45   .34 .34   .14 .14
    R in files       .87 .99   .99 .96   .99 .98   .96 .96     .82 .58   .54 .39   .31 .30   .12 .12
    D1 in files      .89 .99   .98 .98   .98 .99   .95 .96     .59 .46   .34 .27   .19 .19   .07 .07

docs/intervals.md has what it costs at 16 prompts, and the lowest coverage of all five sizes, 16 among them. Where a
figure is the mean of several training seeds, intervals hold these too: figures/training_seeds.py.

"1 in 8 fails": shares of 25 pictures at rates of .96 and .04. "0 or 1": prompts that fail wholly at that rate. Files:
prompts of LiVO's and the concept vectors' score files of the miniature.

**Figures without bounds**, or that never come near them (CLIP scores), have the studentised bootstrap ("bootstrap-t";
Efron & Tibshirani 1993, ch. 12): prompts are drawn again with replacement, and the distribution of (mean* − mean) / se*
takes the place of Student's t. It covers normal figures as above; of prompts unlike all others it knows nothing. That
of a difference is symmetric (Hall 1988), |mean* − mean| / se*: following a skew that is not there calls too many.

**Differences** of figures with bounds lie between −1 and 1, and have Gaffke's interval too. Two halves of the same
pictures are called different in at most 1 of 100 comparisons, and two methods of the same mean, one of which fails
wholly at one prompt in 8 or 20, in at most 2 (by the bootstrap in 31 at 8 prompts and 28 at 20). What it costs: a
difference that is the same at all prompts is called from .59 on at 8 prompts, .20 at 20, .11 at 36, .02 at 200.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.figures.training_seeds import below, seed_reach

Array: TypeAlias = NDArray[np.float64]
RESAMPLES = 10_000
# A resample may repeat one prompt, and its standard error be 0: this share of the sample's own is always added.
STEADY = 0.15
WIDER = float(np.hypot(1, STEADY))
ROUNDING = 1e-12
BLOCK = 2_000_000  # numbers drawn at a time: 16 megabytes


class Interval(NamedTuple):
    """A mean and the limits between which it lies with 95% confidence; None where nothing can be said of them."""

    value: float
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """A mean difference, its 95% limits (None where nothing can be said of them), and how sure its sign is.

    `probability` is that of a difference above 0, as a confidence: 1 − p/2 for a difference above 0 and p/2 for one
    below, p being twice the share of weighted means beyond 0, or the share of resamples whose |t| reaches the sample's
    own. The limits leave 0 out exactly where it is at most 2.5% or at least 97.5%.
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
    seeds: Sequence[float] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean of one figure a prompt, with its interval.

    Args:
        values: (n,) one figure a prompt, n ≥ 1.
        level: confidence.
        bounds: what a prompt's figure can be; where one is infinite the interval is the bootstrap's, cut at the other.
        seeds: where each value is the mean of several training seeds, the mean over prompts of each seed.
        seed: of the weights or resamples; the same values always give the same interval.
        resamples: how many, even.

    One prompt has no limits; nor have prompts that all agree on a figure without bounds.

    Raises:
        ValueError: values outside their bounds.
    """
    values = np.asarray(values, dtype=float)
    mean, se = _mean_and_error(values)
    tail = (1 - level) / 2
    if len(values) > 1 and np.isfinite(bounds).all():
        low, high = _limits(*_weighted_means(values, bounds, resamples, seed), tail)
    elif se == 0:
        return Interval(mean, None, None)
    else:
        t_low, t_high = np.quantile(_bootstrap_t(values - mean, se, resamples, seed), [tail, 1 - tail]) * WIDER
        low, high = mean - t_high * se, mean - t_low * se
    of_seeds = seed_reach([seeds], tail)
    low, high = float(below(mean, low, of_seeds)), -float(below(-mean, -high, of_seeds))
    # cut at the bounds; and Gaffke's are on both sides of the mean but for rounding
    return Interval(mean, max(bounds[0], min(mean, low)), min(bounds[1], max(mean, high)))


def paired_difference(
    values: ArrayLike,
    others: ArrayLike,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seeds: Sequence[Sequence[float]] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """The mean of values − others, prompt by prompt, with its interval.

    Args:
        values: (n,) figures, n ≥ 1.
        others: (n,) figures of the same prompts in the same order, or one number that is known.
        bounds: what each figure can be; where one is infinite the interval is the bootstrap's.
        seeds: as in `mean_interval`, for either method that has them; the seeds of two methods are no pairs.
        seed, resamples: as in `mean_interval`.

    Differences that are all the same, of figures without bounds, have no limits.

    Raises:
        ValueError: values outside their bounds.
    """
    differences = np.subtract(values, others, dtype=float)
    differences[np.abs(differences) <= ROUNDING] = 0
    mean, se = _mean_and_error(differences)
    if len(differences) > 1 and np.isfinite(bounds).all():
        least, most = bounds if np.ndim(others) else (others, others)
        ends = (bounds[0] - most, bounds[1] - least)
        lows, highs = _weighted_means(differences, ends, resamples, seed)
        of_seeds = seed_reach(seeds, np.arange(len(lows)) / len(lows))
        lows = below(mean, np.sort(lows), of_seeds).clip(ends[0])
        highs = -below(-mean, np.sort(-highs), of_seeds).clip(-ends[1])
        low, high = _limits(lows, highs, 0.025)
        p = 2 * float(np.mean(lows <= 0 if mean > 0 else highs >= 0)) if mean else 1.0
    elif se == 0:
        return Difference(mean, None, None, 0.5)
    else:
        t = np.sort(np.abs(_bootstrap_t(differences - mean, se, resamples, seed)))
        reaches = np.hypot(t * WIDER * se, seed_reach(seeds, (1 - np.arange(1, resamples + 1) / resamples) / 2))
        p = float(np.mean(reaches >= abs(mean)))
        # an order statistic, not interpolated: so p ≤ .05 exactly where the interval leaves 0 out
        reach = float(np.quantile(reaches, 0.95, method="inverted_cdf"))
        low, high = mean - reach, mean + reach
    p = min(p, 1.0)
    return Difference(mean, low, high, 1 - p / 2 if mean > 0 else p / 2)


def _weighted_means(values: Array, bounds: tuple[float, float], resamples: int, seed: int) -> tuple[Array, Array]:
    """Means of values (n,) and one more, the lower and the upper bound, with random weights: (resamples,) each.

    The order of the values makes no difference, and values turned over (x → −x) have the same means turned over.
    """
    low, high = bounds
    off = ROUNDING + 1e-9 * (high - low)
    if values.min() < low - off or values.max() > high + off:
        raise ValueError(f"values from {values.min()} to {values.max()} are not within {low} and {high}")
    n, rows, ordered = len(values), resamples // 2, np.sort(values)
    both, block = np.stack([ordered, ordered[::-1]], axis=1), max(1, BLOCK // n)
    seen = np.concatenate(
        [_weights(n, min(block, rows - start), seed + start) @ both for start in range(0, rows, block)]
    ).T  # (2, rows)
    # the bound weighs Beta(1, n), here evenly spaced in its quantiles; the rest is dealt among the values at random
    of_bound = 1 - (1 - (np.arange(rows) + 0.5) / rows) ** (1 / n)
    seen = seen * (1 - of_bound)
    return (seen + low * of_bound).ravel(), (seen + high * of_bound).ravel()


@lru_cache(maxsize=4)  # many figures have the same number of prompts
def _weights(n: int, rows: int, seed: int) -> Array:
    """Weights of n values, uniform among all that sum to 1: (rows, n)."""
    weights = np.random.default_rng(seed).standard_exponential((rows, n))
    return weights / weights.sum(1, keepdims=True)


def _limits(lows: Array, highs: Array, tail: float) -> tuple[float, float]:
    """The values that a share `tail` of the lower means does not pass, and of the upper."""
    rank = round(tail * len(lows))
    return float(np.partition(lows, rank)[rank]), -float(np.partition(-highs, rank)[rank])


def _mean_and_error(values: Array) -> tuple[float, float]:
    """The mean and its standard error, which is 0 where all values are equal but for rounding."""
    mean = float(values.mean())
    if len(values) == 1:
        return mean, 0.0
    se = float(values.std(ddof=1) / np.sqrt(len(values)))
    return mean, 0.0 if se <= ROUNDING * max(1.0, abs(mean)) else se


def _bootstrap_t(centred: Array, se: float, resamples: int, seed: int) -> Array:
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
def _counts(n: int, rows: int, seed: int) -> Array:
    """How often each of n prompts is drawn in each of some resamples, (rows, n)."""
    drawn = np.random.default_rng(seed).integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)
