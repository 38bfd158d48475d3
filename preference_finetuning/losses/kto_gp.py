"""KTO's group form: one utility of the whole step, as in Diffusion-KTO's released script."""

import torch

from diffusion_base.arguments import NotNegative, Positive
from preference_finetuning.losses.kto import Offset, reference_point
from preference_finetuning.objective import Errors, Loss, Traits, saturated

TRAITS = Traits("labels", reference=True, step_means=True)


def loss(
    errors: Errors,
    *,
    beta: Positive = 1000.0,
    bce_offset: Offset = "none",
    lambda_d: NotNegative = 1.0,
    lambda_u: NotNegative = 1.0,
) -> Loss:
    """1 − σ(mean over the step's samples of w s g) with g = β ((L_ref − L_θ) − z); the same for all samples, (N,)."""
    z = reference_point(errors, bce_offset)
    g = beta * (errors.improvement - z)
    w = torch.where(errors.preferred, lambda_d, lambda_u)
    group = errors.mean(w * errors.sign * g).expand(len(g))
    figures = {
        "reward": beta * errors.improvement.detach(),
        "reference_point": (beta * z).expand(len(g)),
        "saturated": saturated(torch.sigmoid, group),
    }
    return 1 - torch.sigmoid(group), figures
