"""What one can read of a run: figures of a batch, and what their means over a while say together."""

from collections import deque
from statistics import fmean

import torch
from torch import Tensor

from preference_finetuning.objective import Errors

A_WHILE = 5  # log entries


def figures(errors: Errors, own: dict[str, Tensor], *, pairs: bool, one_class: bool) -> dict[str, Tensor]:
    """Detached figures of a batch, by picture (N,) or pair (B,), with NaN for pictures that a figure is not of.

    error_preferred, error_dispreferred: L_θ. drift_preferred, drift_dispreferred: L_θ − L_ref; both can rise while the
    margin grows. reward_…: the objective's own, which implicit_accuracy asks: whether a pair is in order, or a picture
    on its side of the reference point; a tie counts a half. What the objective says beside is kept.

    Args:
        own: the objective's figures.
        pairs: whether the pictures are pairs.
        one_class: whether all are of one class, so that there is nothing to tell apart.
    """
    own = dict(own)
    by_picture = {"error": errors.policy.detach()}
    if errors.reference is not None:
        by_picture["drift"] = -errors.improvement.detach()
    found: dict[str, Tensor] = {}
    if (reward := own.pop("reward", None)) is not None and not one_class:
        by_picture["reward"] = reward
        if pairs:
            preferred, dispreferred = reward.chunk(2)
            ahead = preferred - dispreferred
        else:
            ahead = errors.sign * (reward - own.get("reference_point", torch.zeros_like(reward)))
        found["implicit_accuracy"] = (ahead > 0).float() + (ahead == 0).float() / 2
    for name, value in by_picture.items():
        found[f"{name}_preferred"] = value.where(errors.preferred, torch.nan)
        if not one_class:
            found[f"{name}_dispreferred"] = value.where(~errors.preferred, torch.nan)
    return found | own


class Watch:
    """Notices when the errors of both classes have been above the reference's for a while, and end above their mean
    over it."""

    def __init__(self) -> None:
        self.latest: deque[tuple[float, float]] = deque(maxlen=A_WHILE)

    def rising(self, means: dict[str, float]) -> bool:
        """Take in a log entry; true at the entry at which the while is over, and again only after it began anew."""
        both = means.get("drift_preferred"), means.get("drift_dispreferred")
        if both[0] is None or both[1] is None:
            return False  # a figure that no sample had
        if min(both[0], both[1]) <= 0:
            self.latest.clear()
            return False
        self.latest.append((both[0], both[1]))
        last = self.latest[-1]
        if len(self.latest) < A_WHILE or any(last[i] <= fmean(entry[i] for entry in self.latest) for i in (0, 1)):
            return False
        self.latest.clear()
        return True
