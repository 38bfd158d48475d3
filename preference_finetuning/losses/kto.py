"""Diffusion-KTO: binary feedback, a picture at a time (Li et al., NeurIPS 2024)."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from diffusion_base.arguments import NotNegative, Positive
from preference_finetuning.objective import Errors, Loss, Traits, saturated

TRAITS = Traits("labels", reference=True, step_means=True)

Halo: TypeAlias = Literal["sigmoid", "loss_averse", "risk_seeking_1", "risk_seeking_2", "risk_seeking_3"]
Offset: TypeAlias = Literal["none", "sigmoid", "original"]


def loss(
    errors: Errors,
    *,
    beta: Positive = 1000.0,
    halo: Halo = "sigmoid",
    bce_offset: Offset = "none",
    lambda_d: NotNegative = 1.0,
    lambda_u: NotNegative = 1.0,
) -> Loss:
    """w (1 − h(s g)) with g = β ((L_ref − L_θ) − z), (N,). There is no ½ before β.

    Args:
        halo: the utility h: Kahneman and Tversky's sigmoid, a loss-averse one, or one of three risk-seeking ones.
        bce_offset: the reference point z, see `reference_point`.
        lambda_d, lambda_u: w of preferred and of dispreferred pictures.
    """
    z = reference_point(errors, bce_offset)
    g = beta * (errors.improvement - z)
    h = utility(halo, g, errors.sign)
    figures = {
        "reward": beta * errors.improvement.detach(),
        "reference_point": (beta * z).expand(len(g)),
        "saturated": saturated(lambda at: utility(halo, at, errors.sign), g),
    }
    return torch.where(errors.preferred, lambda_d, lambda_u) * (1 - h), figures


def utility(halo: Halo, g: Tensor, s: Tensor) -> Tensor:
    """h, elementwise; s is +1 for preferred pictures, −1 for dispreferred ones."""
    match halo:
        case "sigmoid":
            return torch.sigmoid(s * g)
        case "loss_averse":
            return logsigmoid(s * g)
        case "risk_seeking_1":
            return -s * logsigmoid(-g)
        case "risk_seeking_2":
            return s * torch.exp(g / 100) - 1
        case "risk_seeking_3":
            return -logsigmoid(-s * g)


def reference_point(errors: Errors, offset: Offset) -> Tensor:
    """z, a detached scalar, from all samples of the step.

    "none": max(0, mean of L_ref − L_θ). "sigmoid": the mean of its two class means. "original": its mean over
    mismatched pictures and prompts, as in the paper. The latter two may be negative.
    """
    if offset == "original":
        assert errors.mismatched is not None
        return errors.mean(errors.mismatched.detach())
    improvement = errors.improvement.detach()
    if offset == "none":
        return errors.mean(improvement).clamp(min=0)
    classes = torch.stack([errors.preferred, ~errors.preferred], 1).float()  # (N, 2)
    sums, counts = errors.mean(torch.stack([classes * improvement[:, None], classes], 1)).unbind(0)
    present = counts > 0  # a small step may hold one class alone
    return (sums / counts.where(present, 1)).sum() / present.sum()
