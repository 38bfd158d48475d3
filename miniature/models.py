"""The miniature's components: the standard classes of diffusers and transformers, at a hundredth of the usual size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextModel, CLIPTokenizer

from miniature.captions import caption
from miniature.drawing import SIZE
from miniature.world import VALUES, draw_scene

POSITIONS = 77  # as in Stable Diffusion
WIDTH = 128
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def build_tokenizer() -> CLIPTokenizer:
    """A byte-level BPE in which every word of the world is one token, and any other prompt still tokenises."""
    rng = np.random.default_rng(0)
    captions = [caption(draw_scene(rng), rng) for _ in range(20_000)]
    captions += [f"{value}, weird image. a fair" for value in VALUES]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    # CLIP's own rule: words are letters, and punctuation stands alone; all bytes, marked and plain, are added below
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False, False)]
    )
    learner.train_from_iterator(
        captions, trainers.BpeTrainer(vocab_size=4000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False)
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys(
        [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(m) for m in merges), *SPECIAL]
    )
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=POSITIONS)


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shared = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4, "projection_dim": WIDTH}
    text = {**shared, "num_hidden_layers": 3, "vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    text |= {**ids, "pad_token_id": tokenizer.pad_token_id, "hidden_act": "quick_gelu"}
    vision = {**shared, "num_hidden_layers": 4, "image_size": SIZE, "patch_size": 8, "hidden_act": "quick_gelu"}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, **ids))


def build_image_processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def text_encoder_of(clip: CLIPModel) -> CLIPTextModel:
    """The generator's text encoder IS the CLIP's text tower."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder


def build_vae() -> AutoencoderKL:
    widths = (16, 32, 64, 128)
    return AutoencoderKL(
        sample_size=SIZE,
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=8,
        norm_num_groups=8,
    )


def build_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(96, 128, 192),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Stable Diffusion's noise schedule; the network predicts the velocity, as Stable Diffusion 2's does.

    Most of what a prompt decides about so small a picture is decided at high noise, where the velocity's loss looks and
    that of the noise hardly does.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        prediction_type="v_prediction",
    )


def build_pipeline(tokenizer, clip, vae, unet) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder_of(clip),
        vae=vae,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=build_image_processor(),
        image_encoder=None,
        requires_safety_checker=False,
    )


def asset_folder() -> Path:
    """``assets/miniature`` of this checkout."""
    return Path(__file__).resolve().parents[1] / "assets" / "miniature"
