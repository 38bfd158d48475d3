"""The objectives without a comparison, worked out by hand."""

import math

import pytest
import torch

from preference_finetuning.losses import csft, reward_weighted, sft
from tests.preference_finetuning.losses.given import errors


@pytest.mark.parametrize("objective", [sft, csft])
def test_supervised_losses_are_the_errors(objective):
    given = errors([0.25, 0.5])
    loss, figures = objective.loss(given)
    assert loss is given.policy and figures == {}


def test_reward_weighted():
    """Rewards 0 and log 9 at τ = 2: weights 1 and 3, of mean 2, so shares ½ and 3/2; they take no gradient."""
    given = errors([0.5, 0.25], reward=[0.0, math.log(9)])
    loss, figures = reward_weighted.loss(given, temperature=2.0)
    torch.testing.assert_close(loss, torch.tensor([0.25, 0.375]))
    loss.sum().backward()
    torch.testing.assert_close(given.policy.grad, torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(figures["weight"], torch.tensor([0.5, 1.5]))


def test_reward_weighted_of_any_scale():
    """Rewards far apart, as of an unscaled scorer, leave the best pictures alone and finite."""
    loss, _ = reward_weighted.loss(errors([0.5, 0.25], reward=[-1e4, 1e4]))
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.5]))
