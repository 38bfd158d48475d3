"""Diffusion-DPO with a hinge for the log-sigmoid: a pair that is apart far enough rests (SLiC: Zhao et al. 2023)."""

from torch import Tensor

from diffusion_base.arguments import Positive
from preference_finetuning.losses.dpo import margin
from preference_finetuning.objective import Errors, Loss, Traits, saturated

TRAITS = Traits("pairs", reference=True)


def loss(errors: Errors, *, beta: Positive = 5000.0) -> Loss:
    """max(0, 1 − m), (B,), of DPO's margin m."""
    margins = margin(errors, beta)

    def hinge(m: Tensor) -> Tensor:
        return (1 - m).clamp(min=0)

    return hinge(margins), {"reward": beta / 2 * errors.improvement.detach(), "saturated": saturated(hinge, margins)}
