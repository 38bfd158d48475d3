"""A whole base under the names of the first Stable Diffusion ("LDM"): one file, as WebUI and ComfyUI open it."""

import re

import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from torch import Tensor, nn

from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.pipeline import Pipeline
from diffusion_base.weights.ldm import UNET_PREFIX, unet_names

VAE_PARTS = (  # in this order
    (r"(encoder)\.down_blocks\.(\d+)\.resnets\.", r"\1.down.\2.block."),
    (r"(encoder)\.down_blocks\.(\d+)\.downsamplers\.0\.", r"\1.down.\2.downsample."),
    (r"(decoder)\.up_blocks\.(\d+)\.resnets\.", r"\1.up.\2.block."),
    (r"(decoder)\.up_blocks\.(\d+)\.upsamplers\.0\.", r"\1.up.\2.upsample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"attn_1\.group_norm\.", "attn_1.norm."),
    (r"attn_1\.to_([qkv])\.", r"attn_1.\1."),
    (r"attn_1\.to_out\.0\.", "attn_1.proj_out."),
    (r"conv_shortcut\.", "nin_shortcut."),
    (r"conv_norm_out\.", "norm_out."),
)
OPEN_CLIP = DIFFUSERS_TO_LDM_MAPPING["openclip"]["layers"]
OPEN_CLIP_PARTS = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.": "attn.",
}


def checkpoint(pipeline: Pipeline) -> dict[str, Tensor]:
    """The names and tensors of a Stable Diffusion 1.x, 2.x or XL, as the single files of these have them.

    Raises:
        UserError: of another family, or with a UNet that has more than theirs.
    """
    family = family_of(pipeline)
    if not family.LAYOUTS.single_file:
        raise UserError(f"--layout single_file is for Stable Diffusion 1.x, 2.x and XL, not for {family.NAME}")
    denoiser = family.denoiser(pipeline)
    unet = denoiser.state_dict()
    names = unet_names(unet, denoiser.config.layers_per_block)
    if unknown := unet.keys() - names.keys():
        raise UserError(f"--layout single_file: this base's UNet has {min(unknown)}, which such files have no name for")
    tensors = {f"{UNET_PREFIX}{names[name]}": tensor for name, tensor in unet.items()}
    tensors |= {f"first_stage_model.{name}": tensor for name, tensor in vae(pipeline.vae).items()}
    for component, prefix in family.LAYOUTS.single_file.items():
        encoder = pipeline.components[component]
        # OpenAI's CLIP, that of 1.x and the first of XL, has an activation of its own; the others are OpenCLIP
        tensors |= text_encoder(encoder, prefix, open_clip=encoder.config.hidden_act != "quick_gelu")
    return tensors


def vae(module: nn.Module) -> dict[str, Tensor]:
    """Its decoder's blocks are numbered from the picture, and its attention's layers are 1×1 convolutions."""
    last = len(module.decoder.up_blocks) - 1
    tensors = {}
    for name, tensor in module.state_dict().items():
        for pattern, replacement in VAE_PARTS:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"^decoder\.up\.(\d+)", lambda match: f"decoder.up.{last - int(match[1])}", name)
        in_attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", name)
        tensors[name] = tensor[:, :, None, None] if in_attention else tensor
    return tensors


def text_encoder(module: nn.Module, prefix: str, open_clip: bool) -> dict[str, Tensor]:
    """OpenAI's CLIP has transformers' names, and OpenCLIP its own, with q, k and v in one."""
    state = {
        f"text_model.{name}" if name.startswith(("embeddings.", "encoder.", "final_layer_norm.")) else name: tensor
        for name, tensor in module.state_dict().items()
    }
    if not open_clip:
        return {f"{prefix}transformer.{name}": tensor for name, tensor in state.items()}
    tensors = {}
    for own, tensor in state.items():
        name = own
        for theirs, ours in OPEN_CLIP_PARTS.items():
            name = name.replace(theirs, ours)
        if own in OPEN_CLIP:
            tensors[OPEN_CLIP[own]] = tensor.T if own == "text_projection.weight" else tensor
        elif ".q_proj." in own:
            parts = [state[own.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            tensors[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
        elif not re.search(r"\.[kv]_proj\.", own):
            tensors[name] = tensor
    return {f"{prefix}model.{name}": tensor for name, tensor in tensors.items()}
