"""Diffusion-DPO with a square for the log-sigmoid: margins have an end (IPO: Azar et al. 2024)."""

from torch import Tensor

from diffusion_base.arguments import Positive
from preference_finetuning.losses.dpo import margin
from preference_finetuning.objective import Errors, Loss, Traits, saturated

TRAITS = Traits("pairs", reference=True)


def loss(errors: Errors, *, beta: Positive = 5000.0) -> Loss:
    """(m − ½)², (B,), of DPO's margin m: IPO's (m/β' − 1/(2β'))² times β'², with β' = β/2.

    So its gradient is of DPO's size, where IPO's own would be below an optimizer's epsilon.
    """
    margins = margin(errors, beta)

    def square(m: Tensor) -> Tensor:
        return (m - 0.5).square()

    return square(margins), {"reward": beta / 2 * errors.improvement.detach(), "saturated": saturated(square, margins)}
