"""Weights written as other programs open them."""

from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.pipeline import Pipeline
from diffusion_base.weights.edits import LowRank
from diffusion_base.weights.intervention import PublishedWeights, put_in
from diffusion_base.weights.ldm import unet_names
from diffusion_base.weights.names import Names, Place
from diffusion_base.weights.single_file import checkpoint

LORA_FILE = "pytorch_lora_weights.safetensors"


def save_diffusers(weights: PublishedWeights, pipeline: Pipeline, folder: Path, dtype: torch.dtype) -> Path:
    """A LoRA for `load_lora_weights`, or the folder of a whole denoiser for `from_pretrained`; returns which.

    Raises:
        UserError: whole weights of other networks too.
    """
    if lora := low_rank(weights):
        layers: dict[str, dict[str, Tensor]] = {}
        for place, edit in lora.items():
            own = layers.setdefault(f"{place.component}_lora_layers", {})
            up = edit.up.float() * (edit.scale * weights.strength)  # where no alpha is said, the scale is 1
            own[f"{place.published_layer}.lora_A.weight"] = edit.down.to(dtype).contiguous()
            own[f"{place.published_layer}.lora_B.weight"] = up.to(dtype).contiguous()
        type(pipeline).save_lora_weights(folder, **layers)
        return folder / LORA_FILE
    name = Names(pipeline).denoiser
    if others := {place.component for place in weights.matched.edits} - {name}:
        raise UserError(f"{weights.source} changes the {others.pop()} too: take --layout single_file")
    with put_in(pipeline, weights.matched.edits, weights.strength):
        denoiser = pipeline.components[name]
        (denoiser if dtype == denoiser.dtype else deepcopy(denoiser).to(dtype)).save_pretrained(folder / name)
    return folder / name


def save_kohya(weights: PublishedWeights, pipeline: Pipeline, file: Path, dtype: torch.dtype) -> Path:
    """A LoRA as kohya's scripts name it: with underscores, and in SDXL's UNet by LDM's names; alpha beside each layer.

    Raises:
        UserError: whole weights, or a base without UNet.
    """
    lora = low_rank(weights)
    if not lora:
        raise UserError(
            f"{weights.source} holds whole weights, of which no LoRA can be made exactly: take --layout single_file"
        )
    family, names = family_of(pipeline), Names(pipeline)
    prefixes = family.LAYOUTS.kohya
    if not prefixes:
        raise UserError(f"--layout kohya is for bases with a UNet, not for {family.NAME}")
    ldm = {}
    if family.LAYOUTS.kohya_unet == "ldm":
        plain = [place.plain for place in names.of(names.denoiser)]
        ldm = unet_names(plain, family.denoiser(pipeline).config.layers_per_block)
    tensors = {}
    for place, edit in lora.items():
        own = ldm[place.plain].removesuffix(".weight") if place.plain in ldm else place.published_layer
        layer = f"{prefixes[place.component]}.{own}".replace(".", "_")
        tensors[f"{layer}.lora_down.weight"] = edit.down.to(dtype).contiguous()
        tensors[f"{layer}.lora_up.weight"] = edit.up.to(dtype).contiguous()
        tensors[f"{layer}.alpha"] = torch.tensor(edit.scale * edit.down.shape[0] * weights.strength)
    rank = max(edit.down.shape[0] for edit in lora.values())
    save_file(tensors, file, metadata={"ss_network_module": "networks.lora", "ss_network_dim": str(rank)})
    return file


def save_single_file(weights: PublishedWeights, pipeline: Pipeline, file: Path, dtype: torch.dtype) -> Path:
    """The whole base with the weights merged, under LDM's names.

    Raises:
        UserError: a base of another family than Stable Diffusion 1.x, 2.x and XL.
    """
    with put_in(pipeline, weights.matched.edits, weights.strength):
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor in checkpoint(pipeline).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    return file


def low_rank(weights: PublishedWeights) -> dict[Place, LowRank]:
    """The LoRA that the weights are; nothing where some of them are whole."""
    found = {place: edit for place, edit in weights.matched.edits.items() if isinstance(edit, LowRank)}
    return found if len(found) == len(weights.matched.edits) else {}
