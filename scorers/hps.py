"""The Human Preference Score, v1 and v2.

Source: v1 is Wu et al., "Human Preference Score: Better Aligning Text-to-Image Models with Human Preference" (ICCV
2023), CLIP ViT-L/14 by OpenAI tuned on choices, published as hpc.pt; v2 is Wu et al., "Human Preference Score v2"
(2023), open_clip's ViT-H-14, published as HPS_v2_compressed.pt and HPS_v2.1_compressed.pt.
"""

from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.weights.files import read_state
from scorers.clip import VIT_L14
from scorers.clip_layout import OPEN_CLIP_H14, OPENAI, Architecture, clip_model
from scorers.similarity import SimilarityScorer, clip_folder, clip_scorer

# by the width of the vision tower: what results call it, and how its file is to be read
RELEASES = {1024: ("hps-v1", OPENAI), 1280: ("hps-v2", OPEN_CLIP_H14)}


def load(
    *,
    weights: str,
    tokenizer: str = VIT_L14,
    device: str = "cpu",
    batch_size: int = 64,
) -> SimilarityScorer:
    """`scorers:hps?weights=FILE`; scores are cosines, as in the published means.

    Args:
        weights: the published file of either release, or a folder with it as a transformers `CLIPModel`.
        tokenizer: CLIP's, a folder or a hub id; both releases use the same.
        device: where it runs.
        batch_size: pictures at a time.

    Raises:
        UserError: no such file or tokenizer, or another model's file.
    """
    if Path(weights).is_dir():
        model = clip_folder(weights)
        name, _ = release(model.config.vision_config.hidden_size, weights)
    else:
        state = read_state(weights)
        if "visual.conv1.weight" not in state:
            raise UserError(f"{weights} is not an HPS: it has no visual.conv1.weight, and so no vision tower of CLIP")
        name, architecture = release(state["visual.conv1.weight"].shape[0], weights)
        model = clip_model(state, architecture, weights)
    return SimilarityScorer(clip_scorer(model, tokenizer, name, device, batch_size))


def release(width: int, source: str) -> tuple[str, Architecture]:
    """Which release has a vision tower of this width; see RELEASES."""
    if width not in RELEASES:
        known = " or ".join(f"{width} ({name})" for width, (name, _) in RELEASES.items())
        raise UserError(f"{source} is not an HPS: its vision tower is {width} wide, not {known}")
    return RELEASES[width]
