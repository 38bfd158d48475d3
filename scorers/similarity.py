"""Preference as similarity: a CLIP that was tuned on people's choices, such as HPS and PickScore."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from diffusion_base.errors import UserError
from diffusion_base.weights.files import first_line
from scorers.clip import CLIPScorer


class SimilarityScorer:
    """Preference scores: the cosine of the picture's and the prompt's embeddings, times a scale.

    Args:
        clip: encodes both.
        scale: as published; 1 gives the cosine itself.
    """

    def __init__(self, clip: CLIPScorer, scale: float = 1.0):
        self.clip, self.scale = clip, scale
        self.name, self.version = clip.name, clip.version

    def preference(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Scores (n,); see `PreferenceScorer`."""
        return self.preference_features(self.clip.image_features(images), prompts)

    def preference_features(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """`preference` for pictures whose CLIP's image features (n, D) are known."""
        texts = list(dict.fromkeys(prompts))  # many pictures share a prompt
        known = dict(zip(texts, self.clip.text_features(texts), strict=True))
        wanted = torch.stack([known[prompt] for prompt in prompts])  # (n, D)
        return self.scale * (features * wanted).sum(-1)


def clip_folder(name_or_path: str) -> CLIPModel:
    """A whole CLIPModel of transformers, from a folder or the hub.

    Raises:
        UserError: there is none, or some of its weights are missing.
    """
    try:
        model, info = CLIPModel.from_pretrained(name_or_path, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"no CLIP at {name_or_path!r}: {first_line(error)}") from None
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"no whole CLIP at {name_or_path!r}: {missing[0]} is missing")
    return model


def clip_scorer(model: CLIPModel, tokenizer: str, name: str, device: str, batch_size: int) -> CLIPScorer:
    """A CLIP with the published preparation of pictures: scaled to its size, centre crop, CLIP's mean and deviation.

    Args:
        tokenizer: a folder or a hub id.

    Raises:
        UserError: there is no such tokenizer.
    """
    try:
        words = CLIPTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise UserError(f"no CLIP tokenizer at {tokenizer!r}: {first_line(error)}") from None
    size = model.config.vision_config.image_size
    pictures = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    model.to(device)  # type: ignore[arg-type]  # transformers wraps it without its type
    return CLIPScorer(model, words, pictures, name, batch_size)
