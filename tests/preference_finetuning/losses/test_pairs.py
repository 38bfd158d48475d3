"""The objectives on pairs, worked out by hand."""

import math

import pytest
import torch

from preference_finetuning.losses import dpo, hinge, ipo, mapo
from tests.preference_finetuning.losses.given import errors


def moved():
    """The first pair's errors fall by 1 and rise by 2, so at β = 2 its margin is 3; the second's haven't moved."""
    return errors([1.0, 5.0, 4.0, 6.0], [2.0, 5.0, 2.0, 6.0])


@pytest.mark.parametrize(
    ("objective", "losses", "slopes"),
    [
        # log(1 + e⁻³), log 2; half the slope, σ(0), times β/2 = 1
        (dpo, [math.log(1 + math.exp(-3)), math.log(2)], [0.5, -0.5]),
        (ipo, [2.5**2, 0.25], [1.0, -1.0]),  # 2 · ½
        (hinge, [0.0, 1.0], [1.0, -1.0]),
    ],
)
def test_with_a_reference(objective, losses, slopes):
    given = moved()
    loss, figures = objective.loss(given, beta=2.0)
    torch.testing.assert_close(loss, torch.tensor(losses))
    assert figures["reward"].tolist() == [1, 0, -2, 0] and not figures["reward"].requires_grad
    loss[1].backward()
    torch.testing.assert_close(given.policy.grad, torch.tensor([0, slopes[0], 0, slopes[1]]))


def test_the_mean_over_the_batch_is_outside_the_log_sigmoid():
    """Margins 3 and −3: the mean of log(1 + e^∓3) is 1.5486, where the log-sigmoid of their mean would be log 2."""
    loss, _ = dpo.loss(errors([1.0, 5.0, 4.0, 6.0], [2.0, 2.0, 2.0, 6.0]), beta=2.0)
    assert loss.mean().item() == pytest.approx((math.log(1 + math.exp(-3)) + math.log(1 + math.exp(3))) / 2)


def test_twice_the_beta_without_the_half_is_the_same():
    """diffusers' example has 2500 where the paper has 5000."""
    policy, reference = torch.rand(6).tolist(), torch.rand(6).tolist()
    change = torch.tensor(policy) - torch.tensor(reference)
    theirs = -torch.nn.functional.logsigmoid(2500 * (change[3:] - change[:3]))
    torch.testing.assert_close(dpo.loss(errors(policy, reference), beta=5000.0)[0], theirs, rtol=1e-4, atol=1e-5)


def test_saturated_pairs():
    """Margins 3, 0, 5: DPO's slope σ(−m) is a hundredth of σ(0) beyond m = 5.29; the hinge rests beyond 1."""
    given = errors([1.0, 5.0, 1.0, 4.0, 6.0, 4.4], [2.0, 5.0, 4.0, 2.0, 6.0, 2.0])
    assert dpo.loss(given, beta=2.0)[1]["saturated"].tolist() == [0, 0, 1]
    assert hinge.loss(given, beta=2.0)[1]["saturated"].tolist() == [1, 0, 1]
    assert ipo.loss(given, beta=2.0)[1]["saturated"].tolist() == [0, 0, 0]


def test_mapo():
    """At s = 1, f(log 2) = log 2 and f(log 4) = log 4 / 3: odds T · log 2 / 3, which are log 2 at T = 3."""
    log2 = math.log(2)
    given = errors([log2, 2 * log2])
    loss, figures = mapo.loss(given, beta=0.5, snr=1.0, timesteps=3.0)
    torch.testing.assert_close(loss, torch.tensor([log2 - 0.5 * math.log(2 / 3)]))
    torch.testing.assert_close(figures["reward"], torch.tensor([3 * log2, 2 * log2]))
    loss.sum().backward()
    # f' = (e^x − 1 − x e^x)/(e^x − 1)²: 1 − 2 log 2 at log 2, (3 − 8 log 2)/9 at log 4; β T σ(−log 2) = ½
    torch.testing.assert_close(given.policy.grad, torch.tensor([1 - 0.5 * (1 - 2 * log2), 0.5 * (3 - 8 * log2) / 9]))


def test_mapos_fraction_is_exact_near_0_and_where_the_exponential_overflows():
    """Against double precision; the slope at 0 is −½, and both end at 0."""
    at = torch.tensor([0.0, 1e-30, 1e-8, 1e-4, 0.00999, 0.01, 0.5, 20.0, 89.0, 1e4], requires_grad=True)
    value = mapo.over_expm1(at)
    value.sum().backward()
    x = at.detach().double()
    expected = torch.where(x < 1e-6, 1 - x / 2, x / torch.expm1(x).where(x > 0, 1)).float()
    torch.testing.assert_close(value, expected, rtol=3e-7, atol=0)
    # the slope's own formula cancels below, where its series is −½ + x/6
    slope = (torch.expm1(x) - x * x.exp()) / torch.expm1(x).square().where(x > 0, 1)
    expected = torch.where(x < 1e-3, -0.5 + x / 6, slope).nan_to_num(0.0).float()
    torch.testing.assert_close(at.grad, expected, rtol=2e-5, atol=1e-38)
