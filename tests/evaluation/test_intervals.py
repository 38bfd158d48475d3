import numpy as np
import pytest

from evaluation import intervals
from evaluation.intervals import mean_interval


def coverage(monkeypatch, draw, truth: float, n: int, repetitions: int = 400, bounds=(-np.inf, np.inf)) -> float:
    """How often the interval of n drawn values holds the truth."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    rng = np.random.default_rng(1)
    found = [mean_interval(draw(rng, n), bounds=bounds, seed=i) for i in range(repetitions)]
    return float(np.mean([low <= truth <= high for _, low, high in found]))


@pytest.mark.parametrize("n", [8, 36])
def test_coverage_for_normal_figures(monkeypatch, n):
    """95% plus or minus three standard errors of the count: sqrt(.95 · .05 / 400) = 1.1%."""
    assert 0.917 <= coverage(monkeypatch, lambda rng, n: rng.normal(0.5, 0.2, n), 0.5, n) <= 0.983


def test_coverage_for_skewed_rates_at_eight_prompts(monkeypatch):
    """Beta(.3, 1.2) rates of mean .2: a percentile bootstrap covers 85% here."""
    draw = lambda rng, n: rng.beta(0.3, 1.2, n)  # noqa: E731
    assert 0.917 <= coverage(monkeypatch, draw, 0.2, 8, bounds=(0, 1)) <= 0.983


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
