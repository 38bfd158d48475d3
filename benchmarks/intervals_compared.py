"""95% intervals for the mean of figures in [0, 1] that could be taken, for `interval_coverage.py` to compare.

Each takes samples (repetitions, n), and of how many pictures the figures are shares, if they are: only `beta_binomial`
needs it. It gives their lower and upper limits.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import betabinom

from evaluation.figures.intervals import mean_interval

Array: TypeAlias = NDArray[np.float64]
Limits: TypeAlias = tuple[Array, Array]
TAIL = 0.025
UNBOUNDED = (-np.inf, np.inf)


def one_by_one(interval: Callable[[Any], tuple], samples: Iterable) -> Limits:
    """Limits of each sample; the mean twice where it has none."""
    found = [interval(sample) for sample in samples]
    low, high = np.array([(row[1], row[2]) if row[1] is not None else (row[0], row[0]) for row in found]).T
    return low, high


def gaffke(samples: Array, pictures: int | None) -> Limits:
    return one_by_one(mean_interval, samples)


def bootstrap(samples: Array, pictures: int | None) -> Limits:
    low, high = one_by_one(lambda sample: mean_interval(sample, bounds=UNBOUNDED, resamples=2000), samples)
    return low.clip(0), high.clip(None, 1)


def phan(samples: Array, pictures: int | None) -> Limits:
    """Phan et al. (2021) with Anderson's bound as the order of samples."""
    weights, upper = _phan_bound(samples.shape[1])
    ordered = np.sort(samples, axis=1)
    return 1 - upper((1 - ordered)[:, ::-1] @ weights), upper(ordered @ weights)


@lru_cache
def _phan_bound(n: int, draws: int = 2000) -> tuple[Array, Callable[[Array], Array]]:
    """Anderson's weights of sorted values, and the upper limit as a function of their weighted sum.

    Of all samples whose sum is not above, the largest Σ (U_(i) − U_(i−1)) x_(i) + 1 − U_(n) is the concave majorant of
    those of samples of zeros and ones.
    """
    anderson = (np.arange(n + 1) / n - np.sqrt(np.log(1 / TAIL) / (2 * n))).clip(0)
    uniform = np.sort(np.random.default_rng(0).random((draws, n)), axis=1)
    uniform = np.concatenate([np.zeros((draws, 1)), uniform], axis=1)
    steps = np.diff(anderson)[::-1]
    counted = steps > 0
    at = np.concatenate([[0.0], np.cumsum(steps[counted])])
    reached = np.concatenate([[0], np.cumsum(counted)])  # where the sum is the same, as many ones as can be
    last = np.searchsorted(reached, np.arange(len(at)), side="right") - 1
    sums = 1 - uniform[:, ::-1][:, last]
    slopes = np.diff(sums) / np.diff(at)
    slopes = np.array([isotonic_regression(row, weights=np.diff(at), increasing=False).x for row in slopes])
    majorants = sums[:, :1] + np.concatenate([np.zeros((draws, 1)), np.cumsum(slopes * np.diff(at), axis=1)], axis=1)
    grid = np.unique(np.concatenate([at, np.linspace(0, at[-1], 60)]))
    values = [np.quantile([np.interp(x, at, row) for row in majorants], 1 - TAIL) for x in grid]
    return np.diff(anderson), lambda sums: np.interp(sums, grid, values)


def betting(samples: Array, pictures: int | None) -> Limits:
    """Wealth ∫ Π (1 + b (x_i − m)) db of bets for and against a mean above m, half the stake each, under 1 / 5%."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    nodes, weights = (nodes + 1) / 2, weights / 2
    log_weights = np.log(weights / 2)

    def gain(m: Array) -> Array:
        both = []
        for outcomes, stake in ((samples - m[:, None], 1 / m), (m[:, None] - samples, 1 / (1 - m))):
            both.append(np.log1p(stake[:, None, None] * nodes[:, None] * outcomes[:, None, :]).sum(2) + log_weights)
        return np.logaddexp.reduce(np.concatenate(both, axis=1), axis=1) - np.log(1 / (2 * TAIL))

    return bisect(gain, samples.mean(1))


def likelihood(samples: Array, pictures: int | None) -> Limits:
    """Empirical likelihood (Owen 1988) of the sample with one more 0 and one more 1."""
    padded = np.concatenate([samples, np.zeros((len(samples), 1)), np.ones((len(samples), 1))], axis=1)

    def ratio(m: Array) -> Array:
        off = padded - m[:, None]
        tilt = np.zeros(len(m))
        lowest, highest = -1 / (1 - m), 1 / m  # Σ off / (1 + tilt · off) falls from ∞ to −∞
        for _ in range(40):
            tilt = (lowest + highest) / 2
            above = (off / (1 + tilt[:, None] * off)).sum(1) > 0
            lowest, highest = np.where(above, tilt, lowest), np.where(above, highest, tilt)
        return 2 * np.log1p(tilt[:, None] * off).sum(1) - 3.841

    return bisect(ratio, padded.mean(1))


def bisect(excess: Callable[[Array], Array], inside: Array) -> Limits:
    """Where `excess`, which falls towards `inside` and rises after it, passes 0, in (0, 1)."""
    limits = []
    for end in (1e-9, 1 - 1e-9):
        out, within = np.full(len(inside), end), inside.clip(1e-9, 1 - 1e-9)
        for _ in range(18):
            middle = (out + within) / 2
            beyond = excess(middle) > 0
            out, within = np.where(beyond, middle, out), np.where(beyond, within, middle)
        limits.append(np.where(excess(np.full(len(inside), end)) > 0, out, end))
    return limits[0], limits[1]


def beta_binomial(samples: Array, pictures: int | None) -> Limits | None:
    """Rates of prompts from one beta distribution: the posterior of its mean, all means and correlations alike."""
    if pictures is None:
        return None
    mean, correlation = np.meshgrid((np.arange(200) + 0.5) / 200, (np.arange(15) + 0.5) / 15, indexing="ij")
    size = 1 / correlation - 1
    log_pmf = betabinom.logpmf(np.arange(pictures + 1)[:, None, None], pictures, mean * size, (1 - mean) * size)
    counts = np.rint(samples * pictures).astype(int)
    tally = np.array([np.bincount(row, minlength=pictures + 1) for row in counts], dtype=float)
    posterior = np.tensordot(tally, log_pmf, 1)
    posterior = np.exp(posterior - posterior.max((1, 2), keepdims=True)).sum(2)
    mass = np.cumsum(posterior, axis=1) / posterior.sum(1, keepdims=True)
    return mean[(mass < TAIL).sum(1), 0] - 0.0025, mean[(mass < 1 - TAIL).sum(1), 0] + 0.0025


METHODS: dict[str, Callable[..., Limits | None]] = {
    "Gaffke": gaffke,
    "bootstrap-t": bootstrap,
    "Phan": phan,
    "betting": betting,
    "likelihood": likelihood,
    "beta-binomial": beta_binomial,
}
