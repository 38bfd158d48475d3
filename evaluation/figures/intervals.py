"""95% intervals of a mean over prompts, and of the difference of two such means over the same prompts.

DOC
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
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
    below. The limits leave 0 out exactly where it is at most 2.5% or at least 97.5%.
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
        bounds: what a prompt's figure can be; where one is infinite the interval is the bootstrap's, cut at the other.
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
        return Interval(mean, *_bounded_limits(mean, *_weighted_means(values, bounds, resamples, seed), tail))
    if se == 0:
        return Interval(mean, None, None)
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
        values: (n,) figures, n ≥ 1.
        others: (n,) figures of the same prompts in the same order, or one number that is known.
        bounds: what each figure can be; where one is infinite the interval is the bootstrap's.
        seed, resamples: as in `mean_interval`.

    Differences that are all the same, of figures without bounds, have no limits.

    Raises:
        ValueError: values outside their bounds.
    """
    differences = np.subtract(values, others, dtype=float)
    differences[np.abs(differences) <= ROUNDING] = 0
    mean, se = _mean_and_error(differences)
    if len(differences) > 1 and np.isfinite(bounds).all():
        least, most = (others, others) if np.ndim(others) == 0 else (bounds[1], bounds[0])
        lows, highs = _weighted_means(differences, (bounds[0] - least, bounds[1] - most), resamples, seed)
        low, high = _bounded_limits(mean, lows, highs, 0.025)
        p = 2 * float(np.mean(lows <= 0 if mean > 0 else highs >= 0))
    elif se == 0:
        return Difference(mean, None, None, 0.5)
    else:
        t = np.abs(_bootstrap_t(differences - mean, se, resamples, seed))
        p = float(np.mean(t >= abs(mean) / (WIDER * se)))
        # an order statistic, not interpolated: so p ≤ .05 exactly where the interval leaves 0 out
        reach = float(np.quantile(t, 0.95, method="inverted_cdf")) * WIDER * se
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
    ordered = np.sort(values)
    weights, of_bound = _weights(len(values), resamples // 2, seed)
    seen = (weights @ np.stack([ordered, ordered[::-1]], axis=1)).T.ravel()
    return seen + low * of_bound, seen + high * of_bound


@lru_cache(maxsize=4)  # many figures have the same number of prompts
def _weights(n: int, rows: int, seed: int) -> tuple[Array, Array]:
    """Weights of n values (rows, n) and of the bound (2 · rows,): uniform among all that sum to 1.

    A share of Beta(1, n) for the bound, evenly spaced in its quantiles, and the rest dealt at random.
    """
    of_bound = 1 - (1 - (np.arange(rows) + 0.5) / rows) ** (1 / n)
    weights = np.random.default_rng(seed).standard_exponential((rows, n))
    weights *= ((1 - of_bound) / weights.sum(1))[:, None]
    return weights, np.tile(of_bound, 2)


def _bounded_limits(mean: float, lows: Array, highs: Array, tail: float) -> tuple[float, float]:
    rank = round(tail * len(lows))
    low, high = np.partition(lows, rank)[rank], -np.partition(-highs, rank)[rank]
    return min(mean, float(low)), max(mean, float(high))  # they are apart but for rounding


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
