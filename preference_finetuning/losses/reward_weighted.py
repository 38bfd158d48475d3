"""Fine-tuning on all pictures, weighted by their reward (reward-weighted regression: Peters & Schaal 2007; for
diffusion models Lee et al. 2023)."""

import torch

from diffusion_base.arguments import Positive
from preference_finetuning.objective import Errors, Loss, Traits

TRAITS = Traits("scalars", step_means=True)


def loss(errors: Errors, *, temperature: Positive = 1.0) -> Loss:
    """e^{r/τ} L_θ / (mean over the step's samples of e^{r/τ}), (N,)."""
    assert errors.reward is not None
    weight = torch.exp((errors.reward / temperature).clamp(-60, 60))  # beyond, float32 has no room for their sum
    share = weight / errors.mean(weight)
    return share * errors.policy, {"given_reward": errors.reward.detach(), "weight": share.detach()}
