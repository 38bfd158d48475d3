"""One training step at the size of Stable Diffusion 1.5, with random weights, on whatever machine there is."""

import resource
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from diffusion_base.latents import LatentCache
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from preference_data.schema import Labelled
from tests.tiny import tiny_tokenizer
from value_encoder.dataset import AlignedPicture, PreferencePairs
from value_encoder.task import LiVOTask


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


@pytest.mark.slow
def test_one_step_of_stable_diffusion_15(tmp_path):
    """512 px, batch 1, gradient checkpointing, bfloat16: fits a CPU machine of 24 GB."""
    pipeline = stable_diffusion_15()
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) == 859_520_964
    files = []
    for i in range(2):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (512, 512, 3), dtype=np.uint8)).save(files[-1])
    picture = AlignedPicture(Labelled(files[0], "a doctor", True, "0-career/doctor", "gender equality"), (files[1],))
    pairs = PreferencePairs([picture], LatentCache(pipeline.vae, tmp_path / "latents", 512, batch_size=1))

    task = LiVOTask(
        pipeline,
        beta=1000,
        alpha=500,
        gamma1=1,
        gamma2=0.5,
        frozen_dtype=torch.bfloat16,
        gradient_checkpointing=True,
    )
    before = task.value_encoder.final_layer_norm.weight.detach().clone()
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        train_batch_size=1,
        max_train_steps=1,
        learning_rate=1e-6,
        mixed_precision="bf16",
        gradient_checkpointing=True,
        report_to="none",
    )
    train(task, pairs, arguments)
    assert not torch.equal(task.value_encoder.final_layer_norm.weight.cpu(), before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 20 * 1024**2  # KiB
    shutil.rmtree(tmp_path / "out")  # 2.5 GB
