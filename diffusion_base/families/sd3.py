"""Stable Diffusion 3 and 3.5: a transformer that predicts the flow (Esser et al. 2024); two text encoders or three."""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn
from torch.nn.functional import pad

from diffusion_base.errors import UserError
from diffusion_base.families import sdxl
from diffusion_base.families.flow import RectifiedFlow
from diffusion_base.families.layouts import Layouts
from diffusion_base.families.text import PromptEmbeddings, penultimate, tokenize

NAME = "Stable Diffusion 3 and 3.5"
PIPELINE = StableDiffusion3Pipeline
DENOISER = SD3Transformer2DModel
COMPONENTS: tuple[str, ...] = (
    *("transformer", "vae", "scheduler"),
    *("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
)
LAYOUTS = Layouts()
T5_POSITIONS = 256  # the pipeline's own default

embedding_arguments = sdxl.embedding_arguments


def loading_options(index: dict[str, Any]) -> dict[str, Any]:
    """A base saved without its T5 opens only if one says so."""
    without_t5 = index.get("text_encoder_3", [None])[0] is None
    return {"text_encoder_3": None, "tokenizer_3": None} if without_t5 else {}


def sampling_scheduler(pipeline: StableDiffusion3Pipeline) -> Any:
    """The base's own: DPM-Solver++ is for diffusion."""
    return pipeline.scheduler


def denoiser(pipeline: StableDiffusion3Pipeline) -> nn.Module:
    return pipeline.transformer


def encode_prompts(pipeline: StableDiffusion3Pipeline, prompts: list[str]) -> PromptEmbeddings:
    with_t5 = pipeline.text_encoder_3 is not None  # it reads on where CLIP stops, and warns of what is lost
    ids = tokenize(pipeline.tokenizer, prompts, warn=not with_t5)
    first, output = penultimate(pipeline.text_encoder, ids)
    second, output_2 = penultimate(pipeline.text_encoder_2, tokenize(pipeline.tokenizer_2, prompts, warn=False))
    clip = torch.cat([first, second], dim=-1)
    if with_t5:
        encoder = pipeline.text_encoder_3
        t5 = encoder(tokenize(pipeline.tokenizer_3, prompts, T5_POSITIONS).to(encoder.device)).last_hidden_state
    else:
        t5 = clip.new_zeros(len(prompts), T5_POSITIONS, pipeline.transformer.config.joint_attention_dim)
    embeds = torch.cat([pad(clip, (0, t5.shape[-1] - clip.shape[-1])), t5], dim=1)  # (B, 77 + 256, D)
    return PromptEmbeddings(embeds, torch.cat([output.text_embeds, output_2.text_embeds], dim=-1))


encode_negative_prompts = encode_prompts  # an unset one is an encoded ""


def is_guided(pipeline: StableDiffusion3Pipeline, guidance_scale: float) -> bool:
    return guidance_scale > 1


def timestep(arguments: tuple, options: dict[str, Any]) -> Tensor:
    return options["timestep"][0]  # one a row


def latent_shape(
    pipeline: StableDiffusion3Pipeline, height: int | None = None, width: int | None = None
) -> tuple[int, int, int]:
    config, factor = pipeline.transformer.config, pipeline.vae_scale_factor
    side = config.sample_size * factor
    return config.in_channels, (height or side) // factor, (width or side) // factor


def predict(
    pipeline: StableDiffusion3Pipeline,
    x_t: Tensor,
    t: Tensor,
    text: PromptEmbeddings,
    size: tuple[int, int] | Tensor | None = None,
) -> Tensor:
    transformer = pipeline.transformer
    assert text.pooled is not None
    return transformer(
        x_t.to(transformer.dtype), text.embeds.to(transformer.dtype), text.pooled.to(transformer.dtype), t
    ).sample


def forward_process(pipeline: StableDiffusion3Pipeline, prediction_type: str | None = None) -> RectifiedFlow:
    if prediction_type is not None:
        raise UserError(f"--prediction_type {prediction_type}: {NAME} predicts the flow; leave it out")
    return RectifiedFlow(FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config))
