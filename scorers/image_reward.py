"""ImageReward: BLIP's text encoder looks at the picture while it reads the prompt, and a head says how good it is.

Source: Xu et al., "ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation" (NeurIPS 2023),
published as ImageReward.pt: BLIP with ViT-L/16 under its first authors' names, here as transformers' classes.
"""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel
from transformers import CLIPImageProcessorPil as ImageProcessor  # BLIP's preparation is CLIP's

from diffusion_base.errors import UserError
from diffusion_base.identity import model_version
from diffusion_base.weights.files import first_line, read_state
from scorers.clip import chunks
from scorers.files import fill
from scorers.reward_head import reward_head

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072  # of the raw rewards, as published
TOKENS = 35  # at most, of a prompt
HEAD_WIDTH = 64  # of attention, in both towers

RENAMED = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"^norm\.", "post_layernorm."),
)


class ImageRewardScorer:
    """Preference scores by ImageReward, standardised as published.

    Args:
        vision, text, head: the three parts.
        tokenizer: BERT's, uncased.
        batch_size: pictures at a time.
    """

    def __init__(
        self,
        vision: BlipVisionModel,
        text: BlipTextModel,
        head: nn.Module,
        tokenizer: BertTokenizer,
        name: str = "image-reward",
        batch_size: int = 64,
    ):
        self.parts = nn.ModuleDict({"vision": vision, "text": text, "head": head}).eval().requires_grad_(False)
        self.tokenizer, self.name, self.batch_size = tokenizer, name, batch_size
        size = vision.config.image_size
        self.image_processor = ImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
        self.version = model_version(self.parts)

    @torch.no_grad()
    def preference(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Scores (n,); see `PreferenceScorer`."""
        device = self.parts["vision"].device
        rewards = []
        for batch in chunks(list(zip(images, prompts, strict=True)), self.batch_size):
            pictures = [image.convert("RGB") for image, _ in batch]
            pixels = self.image_processor(pictures, return_tensors="pt").pixel_values
            words = self.tokenizer(
                [prompt for _, prompt in batch], padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
            ).to(device)
            seen = self.parts["vision"](pixel_values=pixels.to(device)).last_hidden_state  # (B, patches + 1, D)
            read = self.parts["text"](
                input_ids=words.input_ids, attention_mask=words.attention_mask, encoder_hidden_states=seen
            ).last_hidden_state  # (B, T, W)
            rewards.append(self.parts["head"](read[:, 0]).squeeze(-1).cpu())
        return (torch.cat(rewards) - MEAN) / DEVIATION


def parts(state: Mapping[str, Tensor], source: str) -> tuple[BlipVisionModel, BlipTextModel, nn.Module]:
    """The three parts of a checkpoint under its first names; the sizes are read off its tensors.

    Raises:
        UserError: not such a checkpoint, or an incomplete one.
    """
    seeing = {_renamed(name): tensor for name, tensor in _under(state, "blip.visual_encoder.").items()}
    reading = _under(state, "blip.text_encoder.")
    reading.pop("embeddings.position_ids", None)  # 0, 1, 2, …
    rating = _under(state, "mlp.layers.")
    try:
        vision_config = _vision_config(seeing)
        text_config = _text_config(reading, vision_config.hidden_size)
    except (KeyError, ValueError) as error:
        raise UserError(f"{source} is not an ImageReward: {error} is missing or odd") from None
    vision, text = BlipVisionModel(vision_config), BlipTextModel(text_config, add_pooling_layer=False)
    head = reward_head(text_config.hidden_size)
    for module, tensors in ((vision, seeing), (text, reading), (head, rating)):
        fill(module, tensors, source, "an ImageReward")
    return vision, text, head


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _vision_config(state: Mapping[str, Tensor]) -> BlipVisionConfig:
    width, _, _, patch = state["embeddings.patch_embedding.weight"].shape
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_layers(state),
        num_attention_heads=width // HEAD_WIDTH,
        image_size=patch * math.isqrt(state["embeddings.position_embedding"].shape[1] - 1),
        patch_size=patch,
        layer_norm_eps=1e-6,
    )


def _text_config(state: Mapping[str, Tensor], vision_width: int) -> BlipTextConfig:
    vocabulary, width = state["embeddings.word_embeddings.weight"].shape
    return BlipTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        encoder_hidden_size=vision_width,
        intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=_layers(state),
        num_attention_heads=width // HEAD_WIDTH,
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        is_decoder=True,  # so that it has cross-attention; it reads both ways all the same
    )


def _layers(state: Mapping[str, Tensor]) -> int:
    return len({found[0] for name in state if (found := re.findall(r"^encoder\.layers?\.(\d+)\.", name))})


def load(
    *, weights: str, tokenizer: str = "google-bert/bert-base-uncased", device: str = "cpu", batch_size: int = 64
) -> ImageRewardScorer:
    """`scorers:image_reward?weights=ImageReward.pt`.

    Args:
        weights: the published file.
        tokenizer: BERT's, uncased, a folder or a hub id.
        device: where it runs.
        batch_size: pictures at a time.

    Raises:
        UserError: no such file or tokenizer, or another model's file.
    """
    vision, text, head = parts(read_state(weights), weights)
    try:
        words = BertTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise UserError(f"no BERT tokenizer at {tokenizer!r}: {first_line(error)}") from None
    return ImageRewardScorer(vision.to(device), text.to(device), head.to(device), words, batch_size=batch_size)
