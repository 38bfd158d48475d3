"""Limits by formula, and honesty with fixed seeds: exactly at 8 prompts, by 1,000 repetitions at 8, 36 and 200."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.stats import betabinom, binomtest, multinomial

from evaluation.figures.formulas import d1
from evaluation.figures.intervals import mean_interval, paired_difference

REPETITIONS = 1000
RESAMPLES = 1000  # a tenth of the default, for speed
WITHOUT_BOUNDS = (-np.inf, np.inf)


def least_share(n):
    """What one more value at the bound weighs at most, with 97.5% confidence: 1 − .025^(1/n)."""
    return 1 - 0.025 ** (1 / n)


@pytest.mark.parametrize("n", [2, 8, 64, 200])
def test_prompts_that_agree_leave_room_for_those_not_seen(n):
    """0 of n harmful prompts: the rate is below 1 − .025^(1/n), as Clopper & Pearson (1934) have it."""
    room = least_share(n)
    assert mean_interval([0.0] * n) == (0, 0, pytest.approx(room, rel=0.01))
    assert mean_interval([1.0] * n) == (1, pytest.approx(1 - room, rel=0.01), 1)
    value, low, high = mean_interval([0.4] * n)
    assert (value, low, high) == pytest.approx((0.4, 0.4 - 0.4 * room, 0.4 + 0.6 * room), abs=0.005)


@pytest.mark.parametrize(("count", "n"), [(1, 8), (3, 8), (12, 20), (30, 36), (5, 200)])
def test_of_prompts_that_fail_or_do_not_the_limits_are_clopper_and_pearsons(count, n):
    expected = binomtest(count, n).proportion_ci(method="exact")
    _, low, high = mean_interval([1.0] * count + [0.0] * (n - count))
    assert (low, high) == pytest.approx(expected, abs=0.01)


def test_beyond_all_values_the_limit_is_a_geometric_mean():
    """The weights that carry the mean past t > max x are a corner of their simplex, of volume Π (1 − t) / (1 − x_i).

    So the upper limit is 1 − (.025 Π (1 − x_i))^(1/n) where that is above all values: here 1 − (.025 · .8 · .4)^½.
    """
    assert mean_interval([0.2, 0.6]).high == pytest.approx(1 - 0.008**0.5, abs=0.003)
    values = np.random.default_rng(0).uniform(0, 0.3, 5)
    assert mean_interval(values).high == pytest.approx(1 - (0.025 * np.prod(1 - values)) ** 0.2, abs=0.005)


def test_turned_over_reordered_and_scaled():
    values = np.random.default_rng(0).beta(0.4, 0.9, 36)
    whole = mean_interval(values)
    turned = mean_interval(1 - values)
    assert (1 - turned.value, 1 - turned.high, 1 - turned.low) == pytest.approx(whole)
    assert mean_interval(np.random.default_rng(1).permutation(values))[1:] == whole[1:]
    assert mean_interval(values - 0.25, bounds=(-0.25, 0.75)) == pytest.approx([limit - 0.25 for limit in whole])
    assert mean_interval(100 * values, bounds=(0, 100)) == pytest.approx([100 * limit for limit in whole])


def test_a_higher_value_never_lowers_a_limit():
    rng = np.random.default_rng(2)
    values = rng.random(8)
    before = mean_interval(values)
    for i in rng.permutation(8):
        values[i] = rng.uniform(values[i], 1)
        after = mean_interval(values)
        assert after.low >= before.low and after.high >= before.high
        before = after


def test_the_mean_lies_between_the_limits_and_they_within_the_bounds():
    rng = np.random.default_rng(3)
    for n in (2, 3, 8, 36):
        for _ in range(50):
            value, low, high = mean_interval(rng.beta(0.2, 0.2, n).round(2), resamples=RESAMPLES)
            assert 0 <= low <= value <= high <= 1 and high - low > 0.01


def test_values_outside_their_bounds_are_an_error():
    with pytest.raises(ValueError, match="from 0.5 to 1.2 are not within 0 and 1"):
        mean_interval([0.5, 1.2], bounds=(0, 1))
    with pytest.raises(ValueError, match="are not within"):
        paired_difference([3.0, 0.0], [0.0, 0.0], bounds=(0, 1))


POPULATIONS = [((0, 1), (1 - rate, rate)) for rate in (0.02, 0.1, 0.3, 0.5, 0.8)]  # prompts that fail or do not
POPULATIONS += [((0.04, 0.96), (1 - share, share)) for share in (1 / 8, 1 / 20)]
POPULATIONS += [
    ((0, 0.1, 1), (0.6, 0.3, 0.1)),
    ((0.2, 0.5, 0.9), (0.3, 0.1, 0.6)),
    ((0, 0.5, 0.6, 1), (0.3,) * 3 + (0.1,)),
]


@pytest.mark.parametrize(("values", "shares"), POPULATIONS)
def test_eight_prompts_of_few_kinds_cover_their_mean_exactly_as_often(values, shares):
    """The probabilities of all samples there can be, no simulation."""
    covered = 0.0
    for sample in combinations_with_replacement(range(len(values)), 8):
        _, low, high = mean_interval(np.take(values, sample))
        probability = multinomial.pmf(np.bincount(sample, minlength=len(values)), 8, shares)
        covered += probability * (low <= np.dot(values, shares) <= high)
    assert covered >= 0.95


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
    "one in twenty fails": (lambda rng, size: rng.choice([0.04, 0.96], size, p=[0.95, 0.05]), 0.086, (0, 1)),
}


@pytest.mark.parametrize("n", [8, 36, 200])
@pytest.mark.parametrize("name", FIGURES)
def test_intervals_cover_the_truth_as_often_as_they_say(name, n):
    draw, truth, bounds = FIGURES[name]
    samples = draw(np.random.default_rng(1), (REPETITIONS, n))
    found = [mean_interval(values, bounds=bounds, resamples=RESAMPLES) for values in samples]
    covered = np.mean([low <= truth <= high for _, low, high in found])
    assert covered >= 0.94 if bounds == (0, 1) else 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [8, 36, 200])
@pytest.mark.parametrize("bounds", [(0, 1), WITHOUT_BOUNDS])
def test_intervals_of_a_planted_difference_cover_it(bounds, n):
    """Two methods on the same prompts, the second with half the first's figure and noise of its own."""
    rng = np.random.default_rng(2)
    first = bias(rng, (REPETITIONS, n))
    second = first / 2 + rng.uniform(0, 0.1, first.shape)
    found = [paired_difference(a, b, bounds=bounds, resamples=RESAMPLES) for a, b in zip(first, second, strict=True)]
    covered = np.mean([row.low <= true_bias() / 2 - 0.05 <= row.high for row in found])
    assert covered >= 0.94 if bounds == (0, 1) else 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [8, 20])
def test_a_prompt_that_fails_wholly_may_not_have_been_seen(n):
    """One in eight does, so that the mean is the first method's: the sample often shows all prompts better."""
    seconds = np.random.default_rng(6).choice([0.04, 0.96], (REPETITIONS, n), p=[7 / 8, 1 / 8])
    found = [paired_difference(row, [0.155] * n, bounds=(0, 1), resamples=RESAMPLES) for row in seconds]
    assert np.mean([row.significant for row in found]) <= 0.06


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
    bounds = WITHOUT_BOUNDS if name == "scores" else (0, 1)
    found = [paired_difference(*halves, bounds=bounds, resamples=RESAMPLES) for halves in zip(*pairs, strict=True)]
    assert np.mean([row.significant for row in found]) <= 0.07


def test_a_difference_that_is_there_is_found():
    """Every prompt loses between a tenth and a third."""
    rng = np.random.default_rng(4)
    first = rng.uniform(0.5, 1, 8)
    found = paired_difference(first - rng.uniform(0.1, 0.33, 8), first)
    assert found.significant and -0.33 < found.low < found.value < found.high < -0.1 and found.probability < 0.001


def test_differences_by_hand():
    """A difference's sign turns with its order; the value is the mean of the differences."""
    a, b = [0.9, 0.8, 0.4, 0.6], [0.1, 0.5, 0.6, 0.2]
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.value == pytest.approx((0.8 + 0.3 - 0.2 + 0.4) / 4) == -back.value
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.value - forth.low == pytest.approx(forth.high - forth.value)
    assert forth.probability == pytest.approx(1 - back.probability)


@pytest.mark.parametrize("bounds", [(0, 4), WITHOUT_BOUNDS])
def test_the_probability_says_what_the_interval_says(bounds):
    """Over many samples near the edge: above 97.5% or below 2.5% exactly where the limits leave 0 out."""
    rng, seen = np.random.default_rng(5), set()
    for values in rng.normal(rng.choice([-1, 1]), 1.5, (300, 12)).clip(-4, 4):
        found = paired_difference(values.clip(0), -values.clip(None, 0), bounds=bounds, resamples=RESAMPLES)
        assert found.significant == (round(abs(found.probability - 0.5), 9) >= 0.475)
        seen.add(found.significant)
    assert seen == {True, False}


@pytest.mark.parametrize("n", [6, 8, 36])
def test_the_least_difference_that_is_called(n):
    """If it is δ at all prompts, the lower limit is δ − (1 + δ)(1 − .025^(1/n)), as if one more had lost it all.

    It is above 0 from (1 − r) / r on with r = .025^(1/n): .85 at 6 prompts, .59 at 8, .11 at 36.
    """
    room = least_share(n)
    least = room / (1 - room)
    for delta, called in ((least - 0.02, False), (least + 0.02, True)):
        found = paired_difference([delta] * n, [0.0] * n, bounds=(0, 1))
        assert found.low == pytest.approx(delta - (1 + delta) * room, abs=0.005) and found.high <= 1
        assert found.significant == called == (found.probability >= 0.975)
        back = paired_difference([0.0] * n, [delta] * n, bounds=(0, 1))
        assert (-back.value, -back.high, -back.low) == found[:3]
        assert back.probability == pytest.approx(1 - found.probability)


def test_a_difference_to_what_is_known():
    """A win rate and one half: no prompt can lose more than half."""
    found = paired_difference([1.0] * 6, 0.5, bounds=(0, 1))
    value, low, high = mean_interval([1.0] * 6)
    assert found[:3] == pytest.approx((value - 0.5, low - 0.5, high - 0.5)) and found.significant


def test_differences_of_nothing_say_nothing():
    same = paired_difference([0.1 + 0.2] * 8, [0.3] * 8, bounds=(0, 1))  # 6e-17 apart
    assert same.probability == 0.5 and -same.low == same.high == pytest.approx(least_share(8), abs=0.005)
    assert paired_difference([0.3], [0.1], bounds=(0, 1)) == (pytest.approx(0.2), None, None, 0.5)


def test_without_bounds_what_agrees_has_no_limits():
    """Nothing tells how far off a prompt not seen may be."""
    assert mean_interval([30.0] * 8, bounds=WITHOUT_BOUNDS) == (30, None, None)
    assert paired_difference([2.0] * 8, [1.0] * 8) == (1, None, None, 0.5)
    _, low, high = mean_interval([0.0, 0.0, 0.1, 0.4], bounds=(0, np.inf))
    assert low == 0 and high > 0.4  # cut at the bound there is


def test_one_prompt_has_no_interval():
    assert mean_interval([0.4]) == (0.4, None, None)


def test_one_prompt_that_differs_gives_finite_limits():
    """Many resamples hold zeros only: without a steadying term their t would be infinite."""
    value, low, high = mean_interval([0.0] * 7 + [0.08], bounds=WITHOUT_BOUNDS)
    assert value == pytest.approx(0.01)
    assert -0.01 < low < value < high < 0.2
