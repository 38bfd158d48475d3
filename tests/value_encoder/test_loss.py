"""The LiVO loss against values worked out by hand."""

import pytest
import torch

from value_encoder.loss import livo_loss

SETTINGS = {"beta": 10.0, "alpha": 4.0, "gamma1": 1.0, "gamma2": 0.5}


def errors(*values):
    return [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in values]


def test_value_by_hand():
    """L_θ(w) = 0.30, L_θ(l) = 0.45, L_ref(w) = 0.35, L_ref(l) = 0.40.

    preferred:    1.0 + 10 (0.30 − 0.35) = 1.0 − 0.5 = 0.5
    dispreferred: 0.5 +  4 (0.40 − 0.45) = 0.5 − 0.2 = 0.3
    loss = 0.8; drift −0.05 and +0.05, so the pair is ranked as labelled, but neither margin is met.
    """
    loss, metrics = livo_loss(*errors(0.30, 0.45, 0.35, 0.40), **SETTINGS)
    expected = {
        "hinge_preferred": 0.5,
        "hinge_dispreferred": 0.3,
        "satisfied": 0.0,
        "drift_preferred": -0.05,
        "drift_dispreferred": 0.05,
        "implicit_accuracy": 1.0,
    }
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(0.8)
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected)


def test_without_drift_the_loss_is_the_margins():
    """Policy = reference: γ1 + γ2 = 1.5, whatever β and α; a tie is not an accurate ranking."""
    loss, metrics = livo_loss(*errors(0.2, 0.7, 0.2, 0.7), **SETTINGS)
    assert loss.item() == pytest.approx(1.5)
    assert metrics["implicit_accuracy"].item() == 0


def test_sign_of_both_terms():
    """A preferred error that rises and a dispreferred one that falls cost more: 1 + 10·0.1 + 0.5 + 4·0.1 = 2.9."""
    loss, _ = livo_loss(*errors(0.3, 0.6, 0.2, 0.7), **SETTINGS)
    assert loss.item() == pytest.approx(2.9)


def test_gradient_by_hand():
    """Inside both hinges ∂/∂L_θ(w) = β = 10 and ∂/∂L_θ(l) = −α = −4."""
    policy_w, policy_l, reference_w, reference_l = errors(0.30, 0.45, 0.35, 0.40)
    livo_loss(policy_w, policy_l, reference_w, reference_l, **SETTINGS)[0].sum().backward()
    assert policy_w.grad.item() == pytest.approx(10)
    assert policy_l.grad.item() == pytest.approx(-4)


def test_a_met_margin_costs_nothing_and_teaches_nothing():
    """1 + 10 (0.1 − 0.3) = −1 and 0.5 + 4 (0.4 − 0.7) = −0.7: both clamp to zero, so do their gradients."""
    policy_w, policy_l, reference_w, reference_l = errors(0.1, 0.7, 0.3, 0.4)
    loss, metrics = livo_loss(policy_w, policy_l, reference_w, reference_l, **SETTINGS)
    loss.sum().backward()
    assert loss.item() == 0
    assert metrics["satisfied"].item() == 1
    assert policy_w.grad.item() == policy_l.grad.item() == 0


def test_zero_margin_is_a_plain_hinge():
    """γ1 = γ2 = 0 and no drift: loss 0. With drift +0.1 and −0.1: 10·0.1 + 4·0.1 = 1.4."""
    settings = SETTINGS | {"gamma1": 0.0, "gamma2": 0.0}
    assert livo_loss(*errors(0.2, 0.7, 0.2, 0.7), **settings)[0].item() == 0
    assert livo_loss(*errors(0.3, 0.6, 0.2, 0.7), **settings)[0].item() == pytest.approx(1.4)


def test_weight_acts_inside_the_hinges():
    """Weight 2 on the first example: 1 + 10·2·(−0.05) = 0 and 0.5 − 4·2·0.05 = 0.1; 0.1 in all, not 2 · 0.8."""
    loss, _ = livo_loss(*errors(0.30, 0.45, 0.35, 0.40), **SETTINGS, weight=torch.tensor([2.0], dtype=torch.float64))
    assert loss.item() == pytest.approx(0.1)


def test_pairs_are_independent_and_metrics_detached():
    policy_w = torch.rand(5, requires_grad=True)
    others = torch.rand(3, 5)
    loss, metrics = livo_loss(policy_w, *others, **SETTINGS)
    alone = [livo_loss(policy_w[i : i + 1], *others[:, i : i + 1], **SETTINGS)[0] for i in range(5)]
    assert torch.equal(loss, torch.cat(alone))
    assert not any(value.requires_grad for value in metrics.values())
