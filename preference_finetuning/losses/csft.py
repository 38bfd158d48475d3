"""Supervised fine-tuning on all pictures, conditioned on which of them people prefer.

Dispreferred pictures are learned under a prefix of their own, which is the negative prompt in use; the prefix of
preferred pictures goes before the prompt.
"""

from preference_finetuning.objective import Errors, Loss, Traits

TRAITS = Traits("labels", prefixes=("Good image. ", "Bad image. "))


def loss(errors: Errors) -> Loss:
    """L_θ, (N,), of prompts with their prefixes."""
    return errors.policy, {}
