"""Supervised fine-tuning on the preferred pictures."""

from preference_finetuning.objective import Errors, Loss, Needs

NEEDS: Needs = "preferred"
REFERENCE = False
STEP_MEANS = False


def loss(errors: Errors) -> Loss:
    """L_θ, (N,)."""
    return errors.policy, {}
