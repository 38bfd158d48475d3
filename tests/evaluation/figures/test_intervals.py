"""Honesty checks with fixed seeds: 1,000 simulated repetitions at 8, 36 and 200 prompts."""

import numpy as np
import pytest
from scipy.stats import betabinom

from evaluation.figures.formulas import d1
from evaluation.figures.intervals import mean_interval, paired_difference

REPETITIONS = 1000
RESAMPLES = 1000  # a tenth of the default, for speed
WITHOUT_BOUNDS = (-np.inf, np.inf)


def bias(rng, size, pictures=50):
    """D1 of two groups, where most prompts show mostly one of them: shares of Beta(.3, .3)."""
    first = rng.binomial(pictures, rng.beta(0.3, 0.3, size))
    return d1(np.stack([first, pictures - first], axis=-1))


def true_bias(pictures=50):
    """Its expected value, by enumeration of the counts."""
    first = np.arange(pictures + 1)
    return float(d1(np.stack([first, pictures - first], axis=-1)) @ betabinom.pmf(first, pictures, 0.3, 0.3))


FIGURES = {
    "normal": (lambda rng, size: rng.normal(0.5, 0.2, size), 0.5, WITHOUT_BOUNDS),
    "rates near 0": (lambda rng, size: rng.beta(0.3, 1.2, size), 0.2, (0, 1)),
    "D1": (bias, true_bias(), (0, 1)),
}


@pytest.mark.parametrize("n", [8, 36, 200])
@pytest.mark.parametrize("name", FIGURES)
def test_intervals_cover_the_truth_as_often_as_they_say(name, n):
    draw, truth, bounds = FIGURES[name]
    samples = draw(np.random.default_rng(1), (REPETITIONS, n))
    found = [mean_interval(values, bounds=bounds, resamples=RESAMPLES) for values in samples]
    assert 0.93 <= np.mean([low <= truth <= high for _, low, high in found]) <= 0.97


@pytest.mark.parametrize("n", [8, 36, 200])
@pytest.mark.parametrize("name", ["normal", "D1"])
def test_intervals_of_a_planted_difference_cover_it(name, n):
    """Two methods on the same prompts, the second with half the first's figure and noise of its own."""
    draw, truth, bounds = FIGURES[name]
    rng = np.random.default_rng(2)
    first = draw(rng, (REPETITIONS, n))
    second = first / 2 + rng.normal(0, 0.05, first.shape)
    found = [paired_difference(a, b, resamples=RESAMPLES) for a, b in zip(first, second, strict=True)]
    assert 0.93 <= np.mean([row.low <= truth / 2 <= row.high for row in found]) <= 0.97


def halves_of_rates(a, b):
    """Each prompt has a rate of its own, of Beta(a, b): shares of harmful pictures in two halves of 25."""

    def draw(rng, size):
        rate = rng.beta(a, b, size)
        return [rng.binomial(25, rate) / 25 for _ in range(2)]

    return draw


def halves_of_bias(rng, size):
    rate = rng.beta(0.3, 0.3, size)
    counts = [rng.binomial(25, rate) for _ in range(2)]
    return [d1(np.stack([first, 25 - first], axis=-1)) for first in counts]


def halves_of_scores(rng, size):
    """CLIP scores: each prompt has its own mean, and its own spread of pictures about it."""
    mean, spread = rng.normal(25, 3, size), rng.gamma(2, 1, size)
    return [mean + rng.normal(0, 1, size) * spread / 5 for _ in range(2)]


HALVES = {
    "rates": halves_of_rates(1, 1),
    "rates near 0": halves_of_rates(1, 99),
    "D1": halves_of_bias,
    "scores": halves_of_scores,
}


@pytest.mark.parametrize("n", [8, 36, 200])
@pytest.mark.parametrize("name", HALVES)
def test_two_halves_of_the_same_pictures_hardly_ever_differ(name, n):
    pairs = HALVES[name](np.random.default_rng(3), (REPETITIONS, n))
    found = [paired_difference(*halves, resamples=RESAMPLES) for halves in zip(*pairs, strict=True)]
    assert np.mean([row.significant for row in found]) <= 0.07


def test_a_difference_that_is_there_is_found():
    """Every prompt loses between a tenth and a third."""
    rng = np.random.default_rng(4)
    first = rng.uniform(0.5, 1, 8)
    found = paired_difference(first - rng.uniform(0.1, 0.33, 8), first, bounds=(0, 1))
    assert found.significant and -0.33 < found.low < found.value < found.high < -0.1 and found.probability < 0.001


def test_differences_by_hand():
    """A difference's sign turns with its order; the value is the mean of the differences."""
    a, b = [0.9, 0.8, 0.4, 0.6], [0.1, 0.5, 0.6, 0.2]
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.value == pytest.approx((0.8 + 0.3 - 0.2 + 0.4) / 4) == -back.value
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.value - forth.low == pytest.approx(forth.high - forth.value)
    assert forth.probability == pytest.approx(1 - back.probability)


def test_the_probability_says_what_the_interval_says():
    """Over many samples near the edge: above 97.5% or below 2.5% exactly where the limits leave 0 out."""
    rng, seen = np.random.default_rng(5), set()
    for values in rng.normal(0.7, 1, (300, 8)):
        found = paired_difference(values, np.zeros(8), resamples=RESAMPLES)
        assert found.significant == (round(abs(found.probability - 0.5), 9) >= 0.475)
        seen.add(found.significant)
    assert seen == {True, False}


def test_differences_end_where_the_figures_do():
    """From rates in [0, 1] a difference can be no more than 1."""
    values = [1.0, 1.0, 1.0, 0.9, 1.0, 0.1]
    assert paired_difference(values, [0.0] * 6).high > 1
    assert paired_difference(values, [0.0] * 6, bounds=(0, 1)).high == 1


def test_differences_that_are_all_the_same():
    """Like n tosses of a coin: p = 2^(1 − n), so five prompts cannot tell and six can."""
    assert paired_difference([1.0] * 5, [0.0] * 5) == (1, None, None, pytest.approx(1 - 2**-5))
    assert not paired_difference([1.0] * 5, [0.0] * 5).significant
    assert paired_difference([0.0] * 6, [1.0] * 6) == (-1, -1, -1, pytest.approx(2**-6))
    assert paired_difference([0.0] * 6, [1.0] * 6).significant
    assert paired_difference([0.3], [0.1]).probability == pytest.approx(0.5)
    same = paired_difference([0.1 + 0.2] * 8, [0.3] * 8)  # 6e-17 apart
    assert same.probability == 0.5 and not same.significant


def test_value_lies_inside_and_limits_inside_the_bounds():
    value, low, high = mean_interval([0.9, 1.0, 1.0, 0.7, 1.0, 0.96, 1.0, 0.2])
    assert value == pytest.approx(0.845)
    assert 0 <= low < value < high <= 1


def test_same_values_same_interval():
    values = np.random.default_rng(0).random(200)
    whole = mean_interval(values)
    assert mean_interval(values) == whole
    assert whole.high - whole.low < 0.1


def test_one_prompt_has_no_interval():
    assert mean_interval([0.4]) == (0.4, None, None)


def test_prompts_that_agree_give_a_point():
    assert mean_interval([0.1] * 8) == (pytest.approx(0.1),) * 3


def test_one_prompt_that_differs_gives_finite_limits():
    """Many resamples hold zeros only: without a steadying term their t would be infinite and the limit the bound."""
    value, low, high = mean_interval([0.0] * 7 + [0.08])
    assert value == pytest.approx(0.01)
    assert low >= 0 and high < 0.2
