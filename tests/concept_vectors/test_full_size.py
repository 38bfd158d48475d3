"""One step at the size of Stable Diffusion 1.5, with random weights, on whatever machine there is."""

import pytest
import torch

from concept_vectors import import_weights
from concept_vectors.dataset import ConceptData, ConceptPictures
from concept_vectors.inference import ConceptVector
from concept_vectors.task import ConceptTask
from concept_vectors.vectors import load_vectors
from diffusion_base.conditioning import encode_prompts
from diffusion_base.intervention import Context
from diffusion_base.latents import LatentCache
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from tests.concept_vectors.test_import_weights import write_published


@pytest.mark.slow
@torch.no_grad()
def test_published_weights_reach_the_conditional_row(full_size, tmp_path):
    """One call of the UNet as a guided step at 512 px makes it: the vector of the released form, on the second row."""
    pipeline, _, _ = full_size
    files, _ = write_published(tmp_path)
    import_weights.main([*files, str(tmp_path)])
    vector = ConceptVector(tmp_path, "female", pipeline=pipeline, strength=100.0)
    context = Context(pipeline, ["a doctor"], [""], [0], [{}], guided=True, timestep=torch.tensor(500))
    outputs, unet = [], pipeline.unet
    note = unet.mid_block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with vector.hook(context, unet):
        late = unet.mid_block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        text = encode_prompts(pipeline, ["", "a doctor"]).embeds
        noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
        prediction = unet(noise.bfloat16(), torch.tensor(500), text.bfloat16()).sample
    note.remove(), late.remove()
    before, after = (output.float() for output in outputs)
    assert torch.equal(before[0], after[0]) and prediction.isfinite().all()
    assert (after[1] - before[1] - vector.vector * 100).abs().max() < 0.02 * after.abs().max()  # bfloat16 rounds


@pytest.mark.slow
def test_one_step_of_stable_diffusion_15(full_size, tmp_path):
    """Training at 512 px, batch 1, bfloat16, no checkpointing."""
    pipeline, files, latents = full_size
    data = ConceptData(files[:1], [[("a person", ("woman",))]], ["woman"], [])
    pictures = ConceptPictures(data, LatentCache(pipeline.vae, latents, 512, batch_size=1))
    task = ConceptTask(pipeline, data.concepts, frozen_dtype=torch.bfloat16)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        train_batch_size=1,
        max_train_steps=1,
        learning_rate=0.1,
        mixed_precision="bf16",
        report_to="none",
    )
    train(task, pictures, arguments)
    (vector,) = load_vectors(tmp_path / "out", pipeline).tensors.values()
    assert vector.shape == (1280, 8, 8) and 0 < vector.abs().max() < 0.2  # Adam's first step is the learning rate
