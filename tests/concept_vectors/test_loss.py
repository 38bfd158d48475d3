"""The loss of concept vectors against values worked out by hand."""

import pytest
import torch

from concept_vectors.loss import concept_loss


def hidden():
    return torch.full((2, 1, 2, 2), 3.0)  # ‖h‖ = √(4 · 9) = 6 for each of two pictures


def test_value_by_hand():
    """The loss IS the error. ‖c‖ = √(4 · 1) = 2 and 0 beside ‖h‖ = 6: shifts of 1/3 and 0."""
    shift = torch.stack([torch.ones(1, 2, 2), torch.zeros(1, 2, 2)])
    loss, metrics = concept_loss(torch.tensor([0.5, 0.25]), shift, hidden())
    assert loss.tolist() == metrics["error"].tolist() == [0.5, 0.25]
    assert metrics["shift"].tolist() == pytest.approx([1 / 3, 0])


def test_a_number_a_channel_counts_at_every_place():
    """One number, 1.5, at four places: ‖c‖ = √(4 · 2.25) = 3, half of ‖h‖."""
    _, metrics = concept_loss(torch.zeros(2), torch.full((2, 1, 1, 1), 1.5), hidden())
    assert metrics["shift"].tolist() == [0.5, 0.5]


def test_weight_multiplies_the_loss_and_not_the_error():
    loss, metrics = concept_loss(torch.tensor([0.5, 0.25]), hidden(), hidden(), weight=torch.tensor([2.0, 0.0]))
    assert loss.tolist() == [1.0, 0.0]
    assert metrics["error"].tolist() == [0.5, 0.25]


def test_gradient_by_hand_and_metrics_detached():
    """∂loss/∂error = weight = 2; nothing flows back from the metrics."""
    error = torch.tensor([0.5, 0.5], requires_grad=True)
    shift = torch.ones(2, 1, 2, 2, requires_grad=True)
    loss, metrics = concept_loss(error, shift, hidden(), weight=torch.full((2,), 2.0))
    loss.sum().backward()
    assert error.grad.tolist() == [2, 2] and shift.grad is None
    assert not any(value.requires_grad for value in metrics.values())
