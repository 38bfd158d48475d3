"""A LoRA and a whole UNet through the kit: first weights by --seed, float32, the base as reference, the average."""

import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from diffusion_base.conditioning import CachedPrompts
from diffusion_base.data import load_image
from diffusion_base.families import family_of
from diffusion_base.generation import generate
from diffusion_base.noising import noised, per_sample_error
from diffusion_base.training.arguments import ValidationArguments
from diffusion_base.training.loop import begin, train
from diffusion_base.training.reference import Reference
from diffusion_base.training.task import TrainingTask
from diffusion_base.training.tracking import read_history
from diffusion_base.training.validation import grid, side_by_side
from tests.diffusion_base.toy import toy_arguments
from tests.tiny import tiny_pipeline


class DenoiserTask(TrainingTask):
    """Supervised fine-tuning that logs how far it is from the base, of a LoRA or of the whole UNet."""

    base_hash = "tiny"

    def __init__(self, pipeline, whole=False):
        super().__init__()
        self.pipeline, self.prompts, self.whole = pipeline, CachedPrompts(pipeline), whole
        self.denoiser = family_of(pipeline).denoiser(pipeline)
        if whole:
            self.reference = Reference(pipeline)
            self.denoiser.requires_grad_(True)
        else:
            self.denoiser.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
            self.reference = Reference(pipeline, "default")

    def forward(self, batch):
        process = family_of(self.pipeline).forward_process(self.pipeline)
        steps, indices = batch["step"].tolist(), batch["index"].tolist()
        x = noised(batch["latents"], process, seed=0, steps=steps, indices=indices)
        with torch.no_grad(), self.reference():
            reference = self.predict(x, batch)
        policy = self.predict(x, batch)
        return per_sample_error(policy, x.target), {"drift": per_sample_error(policy.detach(), reference)}

    def predict(self, x, batch):
        return family_of(self.pipeline).predict(self.pipeline, x.x_t, x.t, self.prompts(batch["prompt"]))

    def save(self, folder):
        if self.whole:
            self.denoiser.save_pretrained(folder / "unet")
        else:
            state = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.denoiser))
            save_file(state, folder / "pytorch_lora_weights.safetensors")


class Pictures:
    def __len__(self):
        return 8

    def item(self, index, rng):
        return {"latents": torch.from_numpy(rng.standard_normal((4, 8, 8), "float32")), "prompt": "a nurse"}

    def fingerprint(self):
        return "noise"


SETTINGS = {"max_train_steps": 3, "learning_rate": 0.1, "lr_scheduler": "constant"}


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, "no"), (torch.bfloat16, "bf16")])
def test_equal_runs_are_equal(tmp_path, dtype, precision):
    def run(name, seed):
        arguments = toy_arguments(tmp_path / name, seed=seed, mixed_precision=precision, **SETTINGS)
        begin(arguments)
        train(DenoiserTask(tiny_pipeline().to(dtype)), Pictures(), arguments)
        return load_file(tmp_path / name / "pytorch_lora_weights.safetensors")

    first, second, other = run("first", 0), run("second", 0), run("other", 1)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert {tensor.dtype for tensor in first.values()} == {torch.float32}
    assert not any(torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize("whole", [False, True])
def test_validation_shows_the_base_beside_what_was_trained(tmp_path, whole):
    pipeline, prompts = tiny_pipeline(), (["a nurse"] * 2, [0, 1])
    base = generate(pipeline, *prompts, guidance_scale=1.0, progress=False)
    task, looks = DenoiserTask(pipeline, whole), ValidationArguments(validation_guidance_scale=1.0)
    looks.validation_prompts, looks.num_images_per_val_prompt = ("a nurse",), 2
    validate = side_by_side(pipeline, looks, reference=task.reference)
    train(task, Pictures(), toy_arguments(tmp_path, **SETTINGS), validate=validate)
    aligned = generate(pipeline, *prompts, guidance_scale=1.0, progress=False)
    for i in (0, 1):
        shown = load_image(tmp_path / f"validation/step-3-a-nurse-{i}.png")
        assert shown == grid([[base[i], aligned[i]]]) and base[i] != aligned[i]
    history = read_history(tmp_path)
    assert [row["drift"] > 0 for row in history] == [True]  # a mean over three steps, the first without any
    assert side_by_side(pipeline, ValidationArguments()) is None  # no prompts


def test_a_whole_unets_average_is_exported_and_continued(tmp_path):
    """Continued from the second of three steps it is the uninterrupted run; the base's copy has not moved."""
    options = SETTINGS | {"use_ema": True, "ema_decay": 0.5, "checkpointing_steps": 2}
    task, base = DenoiserTask(tiny_pipeline(), whole=True), tiny_pipeline().unet
    train(task, Pictures(), toy_arguments(tmp_path / "whole", **options))
    exported = UNet2DConditionModel.from_pretrained(tmp_path / "whole" / "unet").state_dict()
    trained, before = task.denoiser.state_dict(), base.state_dict()
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert len({tuple(each[name].flatten().tolist()) for each in (exported, trained, before)}) == 3
    assert all(torch.equal(tensor, before[key]) for key, tensor in task.reference.twin.state_dict().items())

    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "parts" / "checkpoint-2")
    again = DenoiserTask(tiny_pipeline(), whole=True)
    train(again, Pictures(), toy_arguments(tmp_path / "parts", resume_from_checkpoint="latest", **options))
    assert all(torch.equal(tensor, trained[key]) for key, tensor in again.denoiser.state_dict().items())
    parts = UNet2DConditionModel.from_pretrained(tmp_path / "parts" / "unet").state_dict()
    assert all(torch.equal(tensor, exported[key]) for key, tensor in parts.items())
