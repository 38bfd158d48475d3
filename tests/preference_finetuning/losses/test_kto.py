"""KTO and its group form, worked out by hand."""

import math

import pytest
import torch

from preference_finetuning.losses import kto, kto_gp
from tests.preference_finetuning.losses.given import errors

LOG3 = math.log(3)
E_TENTH = math.exp(LOG3 / 100)


def sigma(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("halo", "preferred", "dispreferred"),
    [
        ("sigmoid", 3 / 4, 1 / 4),  # σ(log 3), σ(−log 3)
        ("loss_averse", math.log(3 / 4), math.log(1 / 4)),
        ("risk_seeking_1", math.log(4), -math.log(4)),  # −log σ(−g) = log(1 + 3), and its negative
        ("risk_seeking_2", E_TENTH - 1, -E_TENTH - 1),
        ("risk_seeking_3", math.log(4), math.log(4 / 3)),  # −log σ(−log 3) and −log σ(log 3)
    ],
)
def test_each_utility(halo, preferred, dispreferred):
    """β = 2 and errors that fall by log(3)/2: g = log 3 for both pictures. z is 0: the class means cancel in `original`
    with a mismatched mean of 0. Weights 2 and 3."""
    given = errors([1 - LOG3 / 2, 1 - LOG3 / 2], [1.0, 1.0], mismatched=[0.5, -0.5])
    loss, figures = kto.loss(given, beta=2.0, halo=halo, bce_offset="original", lambda_d=2.0, lambda_u=3.0)
    torch.testing.assert_close(loss, torch.tensor([2 * (1 - preferred), 3 * (1 - dispreferred)]))
    torch.testing.assert_close(figures["reward"], torch.tensor([LOG3, LOG3]))
    assert not any(figure.requires_grad for figure in figures.values())


def test_gradient_lowers_preferred_errors_and_raises_dispreferred_ones():
    """dL/dL_θ = w s β σ'(0) = ± 10 · ¼ where nothing has moved."""
    given = errors([0.3, 0.3], [0.3, 0.3])
    kto.loss(given, beta=10.0)[0].sum().backward()
    torch.testing.assert_close(given.policy.grad, torch.tensor([2.5, -2.5]))


@pytest.mark.parametrize(
    ("offset", "z"),
    [("none", 0.0), ("sigmoid", -1.0), ("original", -0.25)],  # the mean is −0.5, clamped; class means 1 and −3
)
def test_each_reference_point(offset, z):
    """Improvements 2 and 0 of the preferred pictures, −1, −5 (and their mean −3) of the dispreferred; at β = 2, a
    sample's logit is s · 2 · (improvement − z). z takes no gradient."""
    given = errors([1.0, 3.0, 4.0, 8.0], [3.0, 3.0, 3.0, 3.0], mismatched=[0.5, -0.5, 0.0, -1.0])
    loss, figures = kto.loss(given, beta=2.0, bce_offset=offset)
    improvements, signs = (2.0, 0.0, -1.0, -5.0), (1, 1, -1, -1)
    logits = [s * 2 * (improvement - z) for s, improvement in zip(signs, improvements, strict=True)]
    torch.testing.assert_close(loss, torch.tensor([1 - sigma(logit) for logit in logits]))
    assert figures["reference_point"].tolist() == [2 * z] * 4
    loss.sum().backward()
    slopes = [s * 2 * sigma(logit) * sigma(-logit) for s, logit in zip(signs, logits, strict=True)]
    torch.testing.assert_close(given.policy.grad, torch.tensor(slopes))


def test_reference_point_of_a_step_that_improves():
    assert kto.reference_point(errors([1.0, 2.0], [2.0, 5.0]), "none") == 2.0


def test_a_step_of_one_class_has_that_classs_mean():
    assert kto.reference_point(errors([1.0, 2.0], [2.0, 5.0], [True, True]), "sigmoid") == 2.0


def test_saturated_samples_are_those_on_a_plateau():
    """σ' falls below a hundredth of σ'(0) = ¼ where σ(1 − σ) < .0025, beyond |g| = 5.99; a loss-averse utility only on
    its upper side."""
    given = errors([0.0, 0.0, 0.0, 0.0], [5.9, 6.1, -6.1, 6.1], mismatched=[0.0] * 4)
    options = {"beta": 1.0, "bce_offset": "original"}
    assert kto.loss(given, **options)[1]["saturated"].tolist() == [0, 1, 1, 1]
    assert kto.loss(given, halo="loss_averse", **options)[1]["saturated"].tolist() == [1, 1, 1, 0]


def test_the_group_form():
    """Improvements 2, 0, −1, −5 at β = 1, mean clamped to z = 0: w s g is 2, 0, and 3·1, 3·5 at λ_u = 3, mean 5."""
    given = errors([1.0, 3.0, 4.0, 8.0], [3.0, 3.0, 3.0, 3.0])
    loss, figures = kto_gp.loss(given, beta=1.0, lambda_u=3.0)
    torch.testing.assert_close(loss, torch.full((4,), 1 - sigma(5.0)))
    assert figures["saturated"].tolist() == [0] * 4 and figures["reward"].tolist() == [2, 0, -1, -5]
    loss.mean().backward()
    slope = sigma(5.0) * sigma(-5.0) / 4
    torch.testing.assert_close(given.policy.grad, torch.tensor([slope, slope, -3 * slope, -3 * slope]))
