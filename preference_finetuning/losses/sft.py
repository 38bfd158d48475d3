"""Supervised fine-tuning on the preferred pictures."""

from preference_finetuning.objective import Errors, Loss, Traits

TRAITS = Traits("preferred")


def loss(errors: Errors) -> Loss:
    """L_θ, (N,)."""
    return errors.policy, {}
