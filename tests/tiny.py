"""Random Stable Diffusion pipelines that run in milliseconds: 8×8 latents, 32×32 pictures, 77 positions."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from diffusion_base.pipeline import Pipeline

TEXT_WIDTH = 16


def tiny_tokenizer() -> CLIPTokenizer:
    """A byte-level tokenizer without merges: one token a byte, so a prompt of 75 letters just fits."""
    letters = sorted(ByteLevel.alphabet())  # all 256 bytes, each with and without the word-end mark
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def tiny_t5_tokenizer() -> T5Tokenizer:
    """One token a letter; others are unknown."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz,"]
    return T5Tokenizer(vocab=special + letters, extra_ids=0, model_max_length=512)


def tiny_text_config(tokenizer: CLIPTokenizer, hidden_act: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act=hidden_act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_vae(**options) -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=32,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        **options,
    )


def tiny_pipeline(kind: str = "sd1", seed: int = 0) -> Pipeline:
    """A frozen random pipeline of one architecture.

    Args:
        kind: "sd1" (epsilon), "sd2" (velocity), "sdxl" (two text encoders), "sd3" (flow, a transformer, three text
            encoders) or "sd3-no-t5".
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = _with_transformer(kind) if kind.startswith("sd3") else _with_unet(kind)
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False).eval()
    return pipeline


def _with_unet(kind: str) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    tokenizer = tiny_tokenizer()
    xl = kind == "sdxl"
    text_config = tiny_text_config(tokenizer, "gelu" if kind == "sd2" else "quick_gelu")
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
    vae = tiny_vae()
    text_encoder = CLIPTextModel(text_config)
    text_encoder_2 = CLIPTextModelWithProjection(tiny_text_config(tokenizer, "gelu")) if xl else None
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
        return StableDiffusionXLPipeline(
            **shared, text_encoder_2=text_encoder_2, tokenizer_2=tiny_tokenizer(), add_watermarker=False
        )
    return StableDiffusionPipeline(**shared, safety_checker=None, requires_safety_checker=False)


def _with_transformer(kind: str) -> StableDiffusion3Pipeline:
    tokenizer = tiny_tokenizer()
    width = 3 * TEXT_WIDTH  # T5's, which the two CLIPs side by side don't fill
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=width,
        caption_projection_dim=16,
        pooled_projection_dim=2 * TEXT_WIDTH,
        out_channels=4,
        pos_embed_max_size=16,
    )
    t5 = T5Config(vocab_size=31, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    with_t5 = kind == "sd3"
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(tiny_text_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(tiny_text_config(tokenizer)),
        tokenizer_2=tiny_tokenizer(),
        text_encoder_3=T5EncoderModel(t5) if with_t5 else None,
        tokenizer_3=tiny_t5_tokenizer() if with_t5 else None,
    )


def tiny_folder(folder: Path, kind: str = "sd1", seed: int = 0) -> Path:
    """Save a tiny pipeline as an ordinary diffusers folder and return that folder."""
    tiny_pipeline(kind, seed).save_pretrained(folder)
    return Path(folder)
