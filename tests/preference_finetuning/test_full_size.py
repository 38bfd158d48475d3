"""One training step at the size of Stable Diffusion 1.5, with random weights, on whatever machine there is; and what a
LoRA of XL is, by its shapes."""

import resource

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from diffusion_base.latents import LatentCache
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from diffusion_base.training.optimizers import build_optimizer
from preference_data import Labelled, open_rows, write_records
from preference_finetuning.arguments import ATTENTION
from preference_finetuning.dataset import Preferences
from preference_finetuning.lora import ADAPTER, lora_config
from preference_finetuning.losses import kto
from preference_finetuning.task import PreferenceTask

GIBIBYTE = 1024**2  # in the KiB that memory is counted by
HALF = {"frozen_dtype": torch.bfloat16, "gradient_checkpointing": True}


@pytest.fixture
def given(full_size):
    """The base, and what makes data of one picture; afterwards the base is as it was."""
    pipeline, files, latents = full_size
    labels = files[0].parent / "labels.jsonl"
    write_records(labels, [Labelled(files[0], "a cat", True, "a cat")])
    yield pipeline, lambda side: Preferences(open_rows(labels), LatentCache(pipeline.vae, latents, side, batch_size=1))
    pipeline.unload_lora_weights()
    pipeline.unet.disable_gradient_checkpointing()
    pipeline.unet.requires_grad_(False).bfloat16().eval()


@pytest.mark.slow
def test_a_lora_at_512_pixels(given, tmp_path):
    """Diffusion-KTO, batch 1, gradient checkpointing, bfloat16; it is saved, and it fits a CPU machine of 24 GB."""
    pipeline, pictures = given
    dataset = pictures(512)
    task = PreferenceTask(pipeline, kto, {}, lora=lora_config(pipeline.unet, 8, 8.0, ATTENTION), **HALF)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        train_batch_size=1,
        max_train_steps=1,
        mixed_precision="bf16",
        gradient_checkpointing=True,
        report_to="none",
    )
    train(task, dataset, arguments)
    trained = {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in trained.values()) == 1_594_368  # twice those of diffusers' rank 4
    assert all(parameter.any() for name, parameter in trained.items() if ".lora_B." in name)  # they begin at 0
    assert (tmp_path / "out/pytorch_lora_weights.safetensors").stat().st_size > 6e6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 20 * GIBIBYTE


@pytest.mark.slow
def test_the_whole_unet_at_256_pixels(given, tmp_path):
    """Adafactor, gradient checkpointing, bfloat16: weights, gradients and the reference, each 3.4 GB in float32."""
    pipeline, pictures = given
    item = pictures(256).item(0, np.random.default_rng(0))
    batch = {name: torch.as_tensor(value)[None] for name, value in item.items() if name != "prompt"}
    batch |= {"prompt": [item["prompt"]], "step": torch.tensor([0]), "index": torch.tensor([0])}
    task = PreferenceTask(pipeline, kto, {}, **HALF)
    task.denoiser.train()
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), optimizer="adafactor", learning_rate=1e-5)
    optimizer = build_optimizer(task.parameter_groups(), arguments, samples_per_step=1, device=torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        loss, figures = task(batch)
    assert figures["drift"].eq(0).all()
    loss.mean().backward()
    optimizer.step()
    policy, reference = task.denoiser.conv_in.weight, task.reference.twin.conv_in.weight
    assert policy.dtype == torch.float32 and 0 < (policy - reference).abs().max() < 1e-3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 22 * GIBIBYTE


@pytest.mark.slow
def test_a_lora_of_xl_by_its_shapes():
    """Stable Diffusion XL's UNet without weights, at rank 8. Its 70 transformer blocks have 8 such layers each; one of
    width d holds 8 · (14 d + 2 · 2048) numbers; 10 blocks are 640 wide, 60 are 1280."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
            use_linear_projection=True,
        )
        assert sum(parameter.numel() for parameter in unet.parameters()) == 2_567_463_684
        unet.requires_grad_(False).add_adapter(lora_config(unet, 8, 8.0, ATTENTION), ADAPTER)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 560
    numbers = 10 * 8 * (14 * 640 + 4096) + 60 * 8 * (14 * 1280 + 4096)
    assert sum(parameter.numel() for parameter in trained) == numbers == 11_612_160
