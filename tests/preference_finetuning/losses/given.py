"""Errors of a few pictures, as a loss is given them."""

import torch

from preference_finetuning.objective import Errors


def errors(policy, reference=None, preferred=None, **more):
    """Of one process; by default the first half is preferred."""
    policy = torch.tensor(policy, requires_grad=True)
    if preferred is None:
        preferred = [i < len(policy) // 2 for i in range(len(policy))]
    return Errors(
        policy,
        torch.tensor(preferred, dtype=torch.bool),
        mean=lambda values: values.mean(0),
        reference=None if reference is None else torch.tensor(reference),
        **{name: torch.tensor(value) for name, value in more.items()},
    )
