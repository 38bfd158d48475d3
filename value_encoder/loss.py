"""LiVO's preference loss (Wang et al., "Embedding an Ethical Mind", ACM Multimedia 2024). Pure."""

import torch
from torch import Tensor


def livo_loss(
    policy_preferred: Tensor,
    policy_dispreferred: Tensor,
    reference_preferred: Tensor,
    reference_dispreferred: Tensor,
    *,
    beta: float,
    alpha: float,
    gamma1: float,
    gamma2: float,
    weight: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Push the preferred picture's error below the reference's, and the dispreferred one's above it, each by a margin.

        max(0, γ1 + β (L_θ(x_w) − L_ref(x_w))) + max(0, γ2 + α (L_ref(x_l) − L_θ(x_l)))

    A hinge is zero, and sends no gradient, once its picture's error has moved by γ1/β or γ2/α.

    Args:
        policy_preferred, policy_dispreferred: L_θ(x_w), L_θ(x_l), shape (B,): the denoising error, a mean over C, H, W,
            conditioned on value token + prompt.
        reference_preferred, reference_dispreferred: L_ref, shape (B,): the same under the prompt alone, with the
            same noise and timestep.
        beta, alpha: slopes, in units of 1 / error.
        gamma1, gamma2: margins, in units of the loss.
        weight: min-SNR weight, shape (B,). It multiplies all four errors, inside the hinges.

    Returns:
        The loss per pair, shape (B,), and detached diagnostics, each of shape (B,).
    """
    drift_preferred = policy_preferred - reference_preferred
    drift_dispreferred = policy_dispreferred - reference_dispreferred
    if weight is not None:
        drift_preferred, drift_dispreferred = weight * drift_preferred, weight * drift_dispreferred

    hinge_preferred = torch.clamp(gamma1 + beta * drift_preferred, min=0)
    hinge_dispreferred = torch.clamp(gamma2 - alpha * drift_dispreferred, min=0)
    loss = hinge_preferred + hinge_dispreferred

    metrics = {
        "hinge_preferred": hinge_preferred,
        "hinge_dispreferred": hinge_dispreferred,
        "satisfied": (loss == 0).to(loss.dtype),  # both hinges met: this pair teaches nothing any more
        "drift_preferred": drift_preferred,  # should go down, to −γ1/β
        "drift_dispreferred": drift_dispreferred,  # should go up, to γ2/α
        "implicit_accuracy": (drift_preferred < drift_dispreferred).to(loss.dtype),  # the pair is ranked as labelled
    }
    return loss, {name: value.detach() for name, value in metrics.items()}
