"""Intervals over prompts and training seeds: by hand, and honest in a world where seeds differ."""

import numpy as np
import pytest
from scipy.stats import t as student

from evaluation.figures.intervals import mean_interval, paired_difference
from evaluation.figures.training_seeds import seed_reach

WITHOUT_BOUNDS = (-np.inf, np.inf)


def test_reach_by_hand():
    """Of .05 and .15: the standard error is .1/√2/√2 = .05, Student's 97.5% point with one degree of freedom 12.706."""
    assert seed_reach([[0.05, 0.15]], 0.025) == pytest.approx(12.7062 * 0.05, rel=1e-4)
    of_three = student.ppf(0.975, 2) * np.std([0.1, 0.2, 0.4], ddof=1) / 3**0.5
    assert seed_reach([[0.1, 0.2, 0.4]], 0.025) == pytest.approx(of_three)
    assert seed_reach([[0.1, 0.2, 0.4], [0.05, 0.15], [0.3], []], 0.025) == pytest.approx(np.hypot(of_three, 0.63531))
    assert seed_reach([[0.1], []], 0.025) == seed_reach([[0.2, 0.2]], 0.025) == 0


@pytest.mark.parametrize("bounds", [(0, 1), WITHOUT_BOUNDS])
def test_limits_are_joined_by_squares_and_cut_at_the_bounds(bounds):
    values = np.random.default_rng(0).uniform(0.4, 0.6, 20)
    mean, low, high = mean_interval(values, bounds=bounds)
    seeds = [mean - 0.02, mean, mean + 0.02]
    reach = student.ppf(0.975, 2) * 0.02 / 3**0.5
    found = mean_interval(values, bounds=bounds, seeds=seeds)
    assert found == pytest.approx((mean, mean - np.hypot(mean - low, reach), mean + np.hypot(high - mean, reach)))
    assert mean_interval(values, bounds=bounds, seeds=[mean]) == pytest.approx((mean, low, high))
    assert mean_interval([0.1] * 8, seeds=[0.0, 0.2]).low == 0 and mean_interval([0.9] * 8, seeds=[0.8, 1]).high == 1


@pytest.mark.parametrize("bounds", [(0, 1), WITHOUT_BOUNDS])
def test_differences_hold_the_seeds_of_both(bounds):
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0.4, 0.6, 30), rng.uniform(0.1, 0.3, 30)
    value, low, high, _ = paired_difference(first, second, bounds=bounds)
    seeds = [[0.49, 0.5, 0.51], [0.19, 0.21]]
    reach = seed_reach(seeds, 0.025)
    found = paired_difference(first, second, bounds=bounds, seeds=seeds)
    wide = value - np.hypot(value - low, reach), value + np.hypot(high - value, reach)
    assert found[:3] == pytest.approx((value, max(wide[0], -1), min(wide[1], 1)), abs=2e-4)
    back = paired_difference(second, first, bounds=bounds, seeds=seeds)
    assert (-back.value, -back.high, -back.low, 1 - back.probability) == pytest.approx(found)


@pytest.mark.parametrize("bounds", [(0, 4), WITHOUT_BOUNDS])
def test_the_probability_says_what_the_limits_say(bounds):
    rng, seen = np.random.default_rng(2), set()
    for values in rng.normal(rng.choice([-1, 1]), 1, (200, 20)).clip(-4, 4):
        seeds = [values.mean() + rng.normal(0, 0.2, 3), ()]
        found = paired_difference(values.clip(0), -values.clip(None, 0), bounds=bounds, seeds=seeds, resamples=1000)
        assert found.significant == (round(abs(found.probability - 0.5), 9) >= 0.475)
        seen.add(found.significant)
    assert seen == {True, False}
