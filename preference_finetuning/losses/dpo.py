"""Diffusion-DPO: pairs, by the log-sigmoid of their margin (Wallace et al., CVPR 2024)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from diffusion_base.arguments import Positive
from preference_finetuning.objective import Errors, Loss, Traits, saturated

TRAITS = Traits("pairs", reference=True)


def loss(errors: Errors, *, beta: Positive = 5000.0) -> Loss:
    """−log σ(−β/2 [(L_θ(x_w) − L_ref(x_w)) − (L_θ(x_l) − L_ref(x_l))]) (equation 14), (B,).

    Every pair's own log-sigmoid: the batch's mean lies outside.
    """
    logits = margin(errors, beta)
    figures = {"reward": beta / 2 * errors.improvement.detach(), "saturated": saturated(logsigmoid, logits)}
    return -logsigmoid(logits), figures


def margin(errors: Errors, beta: float) -> Tensor:
    """β/2 times by how much more the policy improves on the preferred picture than on the dispreferred one, (B,)."""
    preferred, dispreferred = (beta / 2 * errors.improvement).chunk(2)
    return preferred - dispreferred
