"""Random Stable Diffusion pipelines that run in milliseconds: 8×8 latents, 32×32 pictures, 77 positions."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

TEXT_WIDTH = 16


def tiny_tokenizer() -> CLIPTokenizer:
    """A byte-level tokenizer without merges: one token a byte, so a prompt of 75 letters just fits."""
    letters = sorted(ByteLevel.alphabet())  # all 256 bytes, each with and without the word-end mark
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def tiny_pipeline(kind: str = "sd1", seed: int = 0) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A frozen random pipeline of one architecture: "sd1" (epsilon), "sd2" (velocity) or "sdxl" (two text encoders)."""
    tokenizer = tiny_tokenizer()
    xl = kind == "sdxl"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_config = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            hidden_act="gelu" if kind == "sd2" else "quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        xl_condition = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + TEXT_WIDTH,
        }
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=2 * TEXT_WIDTH if xl else TEXT_WIDTH,
            **(xl_condition if xl else {}),
        )
        vae = AutoencoderKL(
            sample_size=32,
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
        )
        text_encoder = CLIPTextModel(text_config)
        text_encoder_2 = CLIPTextModelWithProjection(text_config) if xl else None
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction" if kind == "sd2" else "epsilon",
        steps_offset=1,
    )
    shared = {
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "unet": unet,
        "scheduler": scheduler,
        "feature_extractor": None,
    }
    if xl:
        pipeline = StableDiffusionXLPipeline(
            **shared, text_encoder_2=text_encoder_2, tokenizer_2=tiny_tokenizer(), add_watermarker=False
        )
    else:
        pipeline = StableDiffusionPipeline(**shared, safety_checker=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval()
    return pipeline


def tiny_folder(folder: Path, kind: str = "sd1", seed: int = 0) -> Path:
    """Save a tiny pipeline as an ordinary diffusers folder and return that folder."""
    tiny_pipeline(kind, seed).save_pretrained(folder)
    return Path(folder)
