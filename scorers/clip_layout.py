"""CLIP checkpoints in the layout of OpenAI and open_clip, as transformers' `CLIPModel`.

Both name their tensors alike. What the files do not say is the activation and the number of attention heads; that is
known of each published architecture.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from diffusion_base.errors import UserError
from scorers.files import fill


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint of this layout leaves open."""

    activation: str
    vision_head_width: int
    text_head_width: int = 64


OPENAI = Architecture("quick_gelu", 64)  # ViT-B and ViT-L
OPEN_CLIP_H14 = Architecture("gelu", 80)

WHAT = "a CLIP in OpenAI's or open_clip's layout"
NOT_WEIGHTS = {"attn_mask", "input_resolution", "context_length", "vocab_size"}  # kept in some files
RENAMED = (
    (r"^visual\.transformer\.resblocks", "vision_model.encoder.layers"),
    (r"^transformer\.resblocks", "text_model.encoder.layers"),
    (r"^visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1", "vision_model.embeddings.patch_embedding"),
    (r"^token_embedding", "text_model.embeddings.token_embedding"),
    (r"^visual\.ln_pre", "vision_model.pre_layrnorm"),  # so spelt
    (r"^visual\.ln_post", "vision_model.post_layernorm"),
    (r"^ln_final", "text_model.final_layer_norm"),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^text_projection$", "text_projection.weight"),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)
TRANSPOSED = ("visual_projection.weight", "text_projection.weight")  # there x @ P, here a linear layer


def clip_model(state: Mapping[str, Tensor], architecture: Architecture, source: str) -> CLIPModel:
    """The model of a checkpoint; the sizes are read off its tensors.

    Args:
        state: names and tensors.
        architecture: what they leave open.
        source: what the errors name.

    Raises:
        UserError: not such a checkpoint, or an incomplete one.
    """
    state = {name: tensor for name, tensor in state.items() if name not in NOT_WEIGHTS}
    try:
        config = clip_config(state, architecture)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{source} is not {WHAT}: {error} is missing or odd") from None
    model = CLIPModel(config)
    fill(model, renamed(state), source, WHAT)
    return model.eval().requires_grad_(False)


def clip_config(state: Mapping[str, Tensor], architecture: Architecture) -> CLIPConfig:
    """Sizes from shapes: a tensor's name and what its axes are is all that is assumed."""
    vision_width, _, _, patch = state["visual.conv1.weight"].shape
    vocabulary, text_width = state["token_embedding.weight"].shape
    positions = state["visual.positional_embedding"].shape[0]
    projection = state["visual.proj"].shape[1]
    ids = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    vision = {
        "hidden_size": vision_width,
        "intermediate_size": state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": layers(state, "visual.transformer"),
        "num_attention_heads": vision_width // architecture.vision_head_width,
        "image_size": patch * math.isqrt(positions - 1),
        "patch_size": patch,
        "hidden_act": architecture.activation,
    }
    text = {
        "vocab_size": vocabulary,
        "hidden_size": text_width,
        "intermediate_size": state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": layers(state, "transformer"),
        "num_attention_heads": text_width // architecture.text_head_width,
        "max_position_embeddings": state["positional_embedding"].shape[0],
        "hidden_act": architecture.activation,
        **ids,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection, **ids)


def layers(state: Mapping[str, Tensor], tower: str) -> int:
    """How many blocks a tower has."""
    return len({name.split("resblocks.")[1].split(".")[0] for name in state if name.startswith(f"{tower}.resblocks.")})


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under CLIPModel's names: the fused query, key and value apart, the projections transposed."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".in_proj_" in name:
            parts = (name.replace("in_proj_", f"{part}_proj.") for part in "qkv")
            found.update(zip(parts, tensor.chunk(3), strict=True))
        else:
            found[name] = tensor.T if name in TRANSPOSED else tensor
    return {name: tensor.to(torch.float32) for name, tensor in found.items()}
