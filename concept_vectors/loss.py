"""The loss of concept vectors (Li et al., "Self-Discovering Interpretable Diffusion Latent Directions", 2024). Pure."""

from torch import Tensor


def concept_loss(
    error: Tensor, shift: Tensor, hidden: Tensor, *, weight: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Denoise a picture WITH the concept under the prompt WITHOUT it, with the vector's help.

        L_θ(x⁺ | prompt without, h + c)      over c alone; everything else is frozen

    Args:
        error: L_θ, shape (B,): the denoising error, a mean over C, H, W.
        shift: c of each picture, the sum of its concepts' vectors, shape (B, C, h, w) or (B, C, 1, 1).
        hidden: h, the mid block's own output, shape (B, C, h, w).
        weight: min-SNR weight, shape (B,), times the error.

    Returns:
        The loss per picture, shape (B,), and detached diagnostics, each of shape (B,): the error without its weight,
        and `shift`, ‖c‖/‖h‖. A vector that grows to the size of h itself takes the picture apart.
    """
    loss = error if weight is None else weight * error
    own, added = hidden.detach().float(), shift.detach().float().expand_as(hidden)
    size = added.flatten(1).norm(dim=1) / own.flatten(1).norm(dim=1)
    return loss, {"error": error.detach(), "shift": size}
