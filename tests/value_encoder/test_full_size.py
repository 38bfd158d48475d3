"""One training step at the size of Stable Diffusion 1.5, with random weights, on whatever machine there is."""

import resource
import shutil

import pytest
import torch

from diffusion_base.latents import LatentCache
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from preference_data.schema import Labelled
from value_encoder.dataset import PreferencePairs, PreferredPicture
from value_encoder.task import LiVOTask


@pytest.mark.slow
def test_one_step_of_stable_diffusion_15(full_size, tmp_path):
    """512 px, batch 1, gradient checkpointing, bfloat16: fits a CPU machine of 24 GB."""
    pipeline, files, latents = full_size
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) == 859_520_964
    picture = PreferredPicture(Labelled(files[0], "a doctor", True, "0-career/doctor", "gender equality"), (files[1],))
    pairs = PreferencePairs([picture], LatentCache(pipeline.vae, latents, 512, batch_size=1))

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
    pipeline.unet.disable_gradient_checkpointing()
    assert not torch.equal(task.value_encoder.final_layer_norm.weight.cpu(), before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 20 * 1024**2  # KiB
    shutil.rmtree(tmp_path / "out")  # 2.5 GB
