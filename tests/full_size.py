"""A base of Stable Diffusion 1.5's size with random weights, for tests of one step."""

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tests.tiny import tiny_tokenizer


def random_model(kind, **config):
    """A model with bfloat16 weights, filled in place: the ordinary initialisation takes minutes at this size."""
    with torch.device("meta"):
        model = kind(**config)
    model = model.to(torch.bfloat16).to_empty(device="cpu").requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.02)
        else:
            parameter.fill_(float(name.endswith("weight")))  # norms: scale 1, shift 0
    return model


def stable_diffusion_15():
    tokenizer = tiny_tokenizer()
    text_config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        projection_dim=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return StableDiffusionPipeline(
        unet=random_model(UNet2DConditionModel, sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        vae=random_model(
            AutoencoderKL,
            sample_size=512,
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ),
        text_encoder=CLIPTextModel(text_config).to(torch.bfloat16).requires_grad_(False).eval(),
        tokenizer=tokenizer,
        scheduler=DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        requires_safety_checker=False,
        feature_extractor=None,
    )
