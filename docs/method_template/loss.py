"""The loss: tensors in, each pair's loss and detached figures out."""

import torch.nn.functional as F
from torch import Tensor


def dpo_loss(policy: Tensor, reference: Tensor, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
    """−log σ(−β/2 · [(L_θ(x_w) − L_ref(x_w)) − (L_θ(x_l) − L_ref(x_l))]) (Wallace et al. 2024, equation 14), (B,).

    Args:
        policy, reference: denoising errors L_θ and L_ref (2B,), all preferred pictures before all dispreferred ones.
    """
    drift_w, drift_l = (policy - reference).chunk(2)
    figures = {"implicit_accuracy": (drift_w < drift_l).float(), "drift_preferred": drift_w.detach()}
    return -F.logsigmoid(-beta / 2 * (drift_w - drift_l)), figures
