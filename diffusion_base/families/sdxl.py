"""Stable Diffusion XL: a UNet that is told a pooled text embedding and the pictures' size; two text encoders."""

from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from diffusion_base.families import sd
from diffusion_base.families.layouts import Layouts
from diffusion_base.families.text import PromptEmbeddings, penultimate, tokenize

NAME = "Stable Diffusion XL"
PIPELINE = StableDiffusionXLPipeline
DENOISER = sd.DENOISER
COMPONENTS: tuple[str, ...] = (*sd.COMPONENTS, "text_encoder_2", "tokenizer_2")
LAYOUTS = Layouts(
    single_file={"text_encoder": "conditioner.embedders.0.", "text_encoder_2": "conditioner.embedders.1."},
    kohya={"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    kohya_unet="ldm",
)

sampling_scheduler = sd.sampling_scheduler
denoiser = sd.denoiser
is_guided = sd.is_guided
timestep = sd.timestep
latent_shape = sd.latent_shape
forward_process = sd.forward_process


def loading_options(index: dict[str, Any]) -> dict[str, Any]:
    return {"add_watermarker": False}


def encode_prompts(pipeline: StableDiffusionXLPipeline, prompts: list[str]) -> PromptEmbeddings:
    first, _ = penultimate(pipeline.text_encoder, tokenize(pipeline.tokenizer, prompts))
    # the two tokenizers differ in their padding alone, so both cut off the same
    second, output = penultimate(pipeline.text_encoder_2, tokenize(pipeline.tokenizer_2, prompts, warn=False))
    return PromptEmbeddings(torch.cat([first, second], dim=-1), output.text_embeds)


def encode_negative_prompts(pipeline: StableDiffusionXLPipeline, prompts: list[str]) -> PromptEmbeddings:
    """An unset one is zeros, not an encoded "", unless the base's configuration says otherwise."""
    encoded = encode_prompts(pipeline, prompts)
    if encoded.pooled is None or not pipeline.config.force_zeros_for_empty_prompt:
        return encoded
    given = torch.tensor([prompt != "" for prompt in prompts], device=encoded.embeds.device)
    return PromptEmbeddings(encoded.embeds * given[:, None, None], encoded.pooled * given[:, None])


def embedding_arguments(conditional: PromptEmbeddings, unconditional: PromptEmbeddings | None) -> dict[str, Any]:
    arguments = sd.embedding_arguments(conditional, unconditional) | {"pooled_prompt_embeds": conditional.pooled}
    return arguments if unconditional is None else arguments | {"negative_pooled_prompt_embeds": unconditional.pooled}


def predict(
    pipeline: StableDiffusionXLPipeline,
    x_t: Tensor,
    t: Tensor,
    text: PromptEmbeddings,
    size: tuple[int, int] | Tensor | None = None,
) -> Tensor:
    unet = pipeline.unet
    if isinstance(size, Tensor):
        time_ids = size.to(x_t.device)
    else:
        height, width = size or (side * pipeline.vae_scale_factor for side in x_t.shape[2:])
        time_ids = torch.tensor([(height, width, 0, 0, height, width)] * len(x_t), device=x_t.device)
    assert text.pooled is not None
    conditions = {"text_embeds": text.pooled.to(unet.dtype), "time_ids": time_ids.to(unet.dtype)}
    return unet(x_t.to(unet.dtype), t, text.embeds.to(unet.dtype), added_cond_kwargs=conditions).sample
