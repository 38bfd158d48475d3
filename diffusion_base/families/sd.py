"""Stable Diffusion 1.x and 2.x: a UNet, one text encoder."""

from typing import Any, TypeAlias

from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

from diffusion_base.families.layouts import Layouts
from diffusion_base.families.text import PromptEmbeddings, tokenize
from diffusion_base.noising import Diffusion

NAME = "Stable Diffusion 1.x and 2.x"
PIPELINE = StableDiffusionPipeline
DENOISER = UNet2DConditionModel
WithUNet: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline
COMPONENTS: tuple[str, ...] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
LAYOUTS = Layouts(
    single_file={"text_encoder": "cond_stage_model."}, kohya={"unet": "lora_unet", "text_encoder": "lora_te"}
)


def loading_options(index: dict[str, Any]) -> dict[str, Any]:
    return {"safety_checker": None, "requires_safety_checker": False}


def sampling_scheduler(pipeline: WithUNet) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ (Lu et al. 2022) on the base's own noise schedule."""
    return DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)


def denoiser(pipeline: WithUNet) -> nn.Module:
    return pipeline.unet


def encode_prompts(pipeline: StableDiffusionPipeline, prompts: list[str]) -> PromptEmbeddings:
    ids = tokenize(pipeline.tokenizer, prompts)
    return PromptEmbeddings(pipeline.text_encoder(ids.to(pipeline.text_encoder.device)).last_hidden_state)


encode_negative_prompts = encode_prompts  # an unset one is an encoded ""


def embedding_arguments(conditional: PromptEmbeddings, unconditional: PromptEmbeddings | None) -> dict[str, Any]:
    arguments = {"prompt_embeds": conditional.embeds}
    return arguments if unconditional is None else arguments | {"negative_prompt_embeds": unconditional.embeds}


def is_guided(pipeline: WithUNet, guidance_scale: float) -> bool:
    return guidance_scale > 1 and pipeline.unet.config.time_cond_proj_dim is None


def timestep(arguments: tuple, options: dict[str, Any]) -> Tensor:
    return arguments[1]


def latent_shape(pipeline: WithUNet, height: int | None = None, width: int | None = None) -> tuple[int, int, int]:
    config, factor = pipeline.unet.config, pipeline.vae_scale_factor
    size = config.sample_size
    h, w = (size, size) if isinstance(size, int) else size
    return config.in_channels, (height or h * factor) // factor, (width or w * factor) // factor


def predict(
    pipeline: StableDiffusionPipeline,
    x_t: Tensor,
    t: Tensor,
    text: PromptEmbeddings,
    size: tuple[int, int] | Tensor | None = None,
) -> Tensor:
    unet = pipeline.unet
    return unet(x_t.to(unet.dtype), t, text.embeds.to(unet.dtype)).sample


def forward_process(pipeline: WithUNet, prediction_type: str | None = None) -> Diffusion:
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    if prediction_type is not None:
        scheduler.register_to_config(prediction_type=prediction_type)
    return Diffusion(scheduler)
