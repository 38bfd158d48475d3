"""One training step at the size of Stable Diffusion 1.5, with random weights, on whatever machine there is."""

import numpy as np
import pytest
import torch
from PIL import Image

from concept_vectors.dataset import ConceptData, ConceptPictures
from concept_vectors.task import ConceptTask
from concept_vectors.vectors import load_vectors
from diffusion_base.latents import LatentCache
from diffusion_base.training import train
from diffusion_base.training_arguments import TrainingArguments
from tests.value_encoder.test_full_size import stable_diffusion_15


@pytest.mark.slow
def test_one_step_of_stable_diffusion_15(tmp_path):
    """512 px, batch 1, bfloat16, no checkpointing."""
    pipeline = stable_diffusion_15()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)).save(tmp_path / "0.png")
    data = ConceptData([tmp_path / "0.png"], [[("a person", ("woman",))]], ["woman"], [])
    pictures = ConceptPictures(data, LatentCache(pipeline.vae, tmp_path / "latents", 512, batch_size=1))
    task = ConceptTask(pipeline, data.concepts, frozen_dtype=torch.bfloat16)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        train_batch_size=1,
        max_train_steps=1,
        learning_rate=0.1,
        mixed_precision="bf16",
        report_to="none",
    )
    train(task, pictures, arguments, resolved={})
    (vector,) = load_vectors(tmp_path / "out", pipeline).tensors.values()
    assert vector.shape == (1280, 8, 8) and 0 < vector.abs().max() < 0.2  # Adam's first step is the learning rate
