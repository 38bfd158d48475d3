"""The LAION aesthetic predictor: how beautiful a picture is, from 1 to 10, read off CLIP's image embedding."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from diffusion_base.identity import digest, model_version
from diffusion_base.weights.files import read_state
from scorers.clip import VIT_L14, CLIPScorer
from scorers.files import fill
from scorers.reward_head import reward_head


class AestheticScorer:
    """Preference scores by a head over CLIP's unit image embedding; the prompt plays no part.

    Args:
        clip: the CLIP for which the head was trained: ViT-L/14.
        head: (B, D) → (B, 1), on the CPU.

    Source: Schuhmann et al., "LAION-5B" (NeurIPS 2022) and the predictors published with it.
    """

    def __init__(self, clip: CLIPScorer, head: nn.Module, name: str = "aesthetic"):
        self.clip, self.head, self.name = clip, head.eval().requires_grad_(False), name
        self.version = digest(f"{clip.version} {model_version(head)}".encode())[:16]

    def preference(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Scores (n,); see `PreferenceScorer`."""
        return self.preference_features(self.clip.image_features(images), prompts)

    @torch.no_grad()
    def preference_features(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """`preference` for pictures whose CLIP's image features (n, D) are known."""
        return self.head(features).squeeze(-1)


def load(*, weights: str, model: str = VIT_L14, device: str = "cpu", batch_size: int = 64) -> AestheticScorer:
    """`scorers:aesthetic?weights=FILE`.

    Args:
        weights: the published head, of five layers (sac+logos+ava1-l14-linearMSE.pth; a + is written %2B) or of one
            (sa_0_4_vit_l_14_linear.pth).
        model: the CLIP it was trained for, a folder or a hub id.
        device: where it runs.
        batch_size: pictures at a time.

    Raises:
        UserError: no such file or model, or another model's file.
    """
    state = read_state(weights)
    clip = CLIPScorer.from_pretrained(model, device=device, batch_size=batch_size)
    width = clip.model.config.projection_dim
    head: nn.Module = nn.Linear(width, 1)
    if "weight" not in state:
        head = reward_head(width)
        state = {name.removeprefix("layers."): tensor for name, tensor in state.items()}
    fill(head, state, weights, f"an aesthetic predictor for CLIP embeddings of width {width}")
    return AestheticScorer(clip, head)
