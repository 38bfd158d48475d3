"""FID, KID, IS and CMMD against independent float64 computations, and intervals against what they claim."""

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
import torch

from evaluation.figures.distances import (
    BLOCK,
    Distance,
    cubic,
    distance_interval,
    frechet_influence,
    gaussian,
    mmd2,
    prompt_values,
)
from evaluation.figures.fidelity import cmmd, fid, inception_score, kid


def features(n, m, width, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) / np.sqrt(width)
    x, y = rng.normal(size=(n, width)) @ mixing + 0.3, rng.normal(size=(m, width))
    return torch.from_numpy(x), torch.from_numpy(y)


def test_fid_equals_the_formula_with_a_matrix_root():
    x, y = features(300, 200, 24)
    s, r = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(s @ r).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(s + r - 2 * root)
    assert fid(x, y).value == pytest.approx(expected, rel=1e-6)
    assert fid(x + 1000, y + 1000).value == pytest.approx(expected, rel=1e-6)


def test_fid_of_fewer_pictures_than_dimensions():
    """Then tr (S R)^½ is the sum of the singular values of X Yᵀ, over √((n − 1)(m − 1)), of the centred features."""
    x, y = (side.numpy() for side in features(30, 20, 64))
    a, b = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (x, y))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root
    assert fid(torch.from_numpy(x), torch.from_numpy(y)).value == pytest.approx(expected, rel=1e-6)


def test_fid_by_hand():
    """One dimension: x = 0, 2 has mean 1, variance 2; y = 0, 4 has mean 2, variance 8: 1 + (√2 − √8)² = 3."""
    x, y = torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[0.0], [4.0]]).double()
    assert fid(x, y).value == pytest.approx(3)
    assert fid(y, y).value == pytest.approx(0, abs=1e-9)


def test_kid_equals_the_double_sum():
    x, y = features(40, 30, 6)
    xx, yy, xy = (
        np.array([[(a @ b / 6 + 1) ** 3 for b in second.numpy()] for a in first.numpy()])
        for first, second in ((x, x), (y, y), (x, y))
    )
    expected = (xx.sum() - xx.trace()) / (40 * 39) + (yy.sum() - yy.trace()) / (30 * 29) - 2 * xy.mean()
    assert kid(x, y).value == pytest.approx(expected, rel=1e-6)


def test_kid_is_torchmetrics_over_one_subset_of_all():
    from torchmetrics.image.kid import KernelInceptionDistance

    from evaluation.figures.fidelity import Given

    x, y = features(50, 50, 8)
    with pytest.warns(UserWarning, match="save all extracted features"):
        metric = KernelInceptionDistance(Given(8), subsets=1, subset_size=50)
    metric.update(y, real=True)
    metric.update(x, real=False)
    assert kid(x, y).value == pytest.approx(metric.compute()[0].item(), rel=1e-5)


def test_cmmd_equals_the_double_sum():
    x, y = (torch.nn.functional.normalize(side, dim=1) for side in features(40, 30, 6))
    xx, yy, xy = (torch.exp(-(torch.cdist(a, b) ** 2) / 200).numpy() for a, b in ((x, x), (y, y), (x, y)))
    assert cmmd(x, y).value == pytest.approx(1000 * (xx.mean() + yy.mean() - 2 * xy.mean()), rel=1e-6)
    assert cmmd(x, x.flip(0)).value == pytest.approx(0, abs=1e-9)


def test_is_equals_the_mean_of_ten_splits():
    """The same splits, in numpy: exp of the mean of Σ p (log p − log p̄) in each, p̄ its mean."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(103, 7)) * 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        order = torch.randperm(103).numpy()
    p = scipy.special.softmax(logits.numpy()[order], axis=1)
    scores = [
        np.exp((split * (np.log(split) - np.log(split.mean(0)))).sum(1).mean())
        for split in np.split(p, range(11, 103, 11))  # ten splits, the last one shorter
    ]
    assert len(scores) == 10
    assert inception_score(logits).value == pytest.approx(np.mean(scores), rel=1e-6)


def test_is_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    inception_score(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double())
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("metric", [fid, kid, cmmd])
def test_no_distance_depends_on_the_order(metric):
    x, y = features(60, 50, 5)
    assert metric(x.flip(0), y.roll(7, 0)).value == pytest.approx(metric(x, y).value, rel=1e-9)


def test_blocks_add_up():
    x, y = (side.numpy() for side in features(BLOCK + 10, 20, 3))
    xx, yy, xy = cubic(x, x), cubic(y, y), cubic(x, y)
    expected = (xx.sum() - xx.trace()) / (len(x) * (len(x) - 1)) + (yy.sum() - yy.trace()) / (20 * 19) - 2 * xy.mean()
    assert mmd2(x, y, cubic, biased=False).value == pytest.approx(expected, rel=1e-9)


def frechet(x, y, weights):
    """The distance with a weight a row of x, as its definition has it; covariances over n."""
    weights = weights / weights.sum()
    mean, centred = weights @ x, x - weights @ x
    s, r = (centred.T * weights) @ centred, np.cov(y, rowvar=False)
    return ((mean - y.mean(0)) ** 2).sum() + np.trace(s + r - 2 * scipy.linalg.sqrtm(s @ r).real)


def test_influence_is_the_derivative_by_a_pictures_weight():
    """Central differences in the weight of one row of n = 4000: the influence over n; covariances differ by 1/n."""
    x, y = (side.numpy() for side in features(4000, 30, 3))
    influence = frechet_influence(x, y)
    for i in (0, 17):
        up, down = np.ones(4000), np.ones(4000)
        up[i], down[i] = 1.5, 0.5
        slope = frechet(x, y, up) - frechet(x, y, down)
        assert influence[i] / 4000 == pytest.approx(slope, rel=0.01, abs=1e-6)


def test_influence_of_mmd_is_the_derivative_by_a_pictures_weight():
    """Biased MMD² = w K w − 2 w K u + u K u with weights w = u = 1/n: the derivative is 2 (K w − K u), centred."""
    x, y = (side.numpy() for side in features(12, 9, 3))
    distance = mmd2(x, y, gaussian, biased=True)
    slope = 2 * (gaussian(x, x).mean(1) - gaussian(x, y).mean(1))
    np.testing.assert_allclose(distance.influence, slope - slope.mean(), atol=1e-12)
    slope = 2 * (gaussian(y, y).mean(1) - gaussian(y, x).mean(1))
    np.testing.assert_allclose(distance.influence_of_second, slope - slope.mean(), atol=1e-12)


def test_interval_by_hand():
    """Influences 3, −1, −2 of prompts a, a, b over n = 3, and 1, −1 of b, c over 2: the totals are ⅔, −⅔ + ½ and −½.
    With two prompts a side se² = 2 · (4/9 + 1/36 + 1/4) = 13/9; Student's t with one degree of freedom is 12.706."""
    distance = Distance(5.0, np.array([3.0, -1.0, -2.0]), np.array([1.0, -1.0]))
    interval = distance_interval(distance, ["a", "a", "b"], ["b", "c"])
    assert interval.high - 5 == pytest.approx(12.7062 * np.sqrt(13 / 9), rel=1e-4)
    assert 5 - interval.low == pytest.approx(interval.high - 5)
    assert distance_interval(distance, ["a", "a", "b"], ["b", "c"], least=0.0).low == 0
    assert distance_interval(distance, ["a"] * 3, ["b", "c"])[1:] == (None, None)


@pytest.mark.parametrize("metric", [fid, kid])
def test_intervals_cover_the_expected_value(metric):
    """36 prompts of 5 pictures, drawn 200 times: 95% ± 4.5% (three standard errors), generously 88% to 100%."""
    rng = np.random.default_rng(0)
    intervals = []
    for _ in range(200):
        prompts = rng.normal(size=(36, 1, 3))
        x = (prompts + rng.normal(size=(36, 5, 3)) + 0.5).reshape(-1, 3)
        y = (prompts + rng.normal(size=(36, 5, 3))).reshape(-1, 3)
        labels = np.repeat(np.arange(36), 5).tolist()
        intervals.append(distance_interval(metric(torch.from_numpy(x), torch.from_numpy(y)), labels, labels))
    expected = np.mean([interval.value for interval in intervals])
    covered = np.mean([interval.low <= expected <= interval.high for interval in intervals])
    assert 0.88 <= covered
    spread = np.std([interval.value for interval in intervals])
    half = np.mean([interval.high - interval.low for interval in intervals]) / 2
    assert 0.7 <= half / (2.03 * spread) <= 1.6  # nor does it cover by being wide


def test_prompt_values_have_the_distance_as_mean_and_its_interval_as_spread():
    x, y = features(60, 60, 5)
    labels = [f"prompt {i % 10}" for i in range(60)]
    values = prompt_values(distance := kid(x, y), labels, labels)
    assert list(values) == labels[:10]
    assert np.mean(list(values.values())) == pytest.approx(distance.value)
    value, low, high = distance_interval(distance, labels, labels)
    se = np.std(list(values.values()), ddof=1) / np.sqrt(10)
    assert (high - low) / 2 == pytest.approx(scipy.stats.t.ppf(0.975, 9) * se)


def test_prompt_values_against_real_pictures_leave_their_influence_out():
    x, y = features(60, 40, 5)
    values = prompt_values(distance := kid(x, y), [i % 10 for i in range(60)], list("real" * 10))
    assert np.mean(list(values.values())) == pytest.approx(distance.value)
