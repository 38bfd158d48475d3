"""A LoRA through the whole kit: its first weights are --seed's, it is kept in float32, its reference is the base."""

import pytest
import torch
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from diffusion_base.conditioning import CachedPrompts
from diffusion_base.families import family_of
from diffusion_base.generation import generate
from diffusion_base.noising import noised, per_sample_error
from diffusion_base.training.loop import begin, train
from diffusion_base.training.reference import Reference
from diffusion_base.training.task import TrainingTask
from tests.diffusion_base.toy import toy_arguments
from tests.tiny import tiny_pipeline


class LoraTask(TrainingTask):
    """Supervised fine-tuning that logs how far it is from the base."""

    base_hash = "tiny"

    def __init__(self, pipeline):
        super().__init__()
        self.pipeline, self.unet, self.prompts = pipeline, pipeline.unet, CachedPrompts(pipeline)
        self.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
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
        state = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.unet))
        save_file(state, folder / "pytorch_lora_weights.safetensors")


class Pictures:
    def __len__(self):
        return 8

    def item(self, index, rng):
        return {"latents": torch.from_numpy(rng.standard_normal((4, 8, 8), "float32")), "prompt": "a nurse"}

    def fingerprint(self):
        return "noise"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_runs_are_equal(tmp_path, dtype):
    options = {"num_inference_steps": 2, "guidance_scale": 1.0, "progress": False}
    settings = {"max_train_steps": 3, "learning_rate": 0.1, "lr_scheduler": "constant"}
    settings["mixed_precision"] = "no" if dtype == torch.float32 else "bf16"
    pictures = {}

    def run(name, seed=0):
        arguments = toy_arguments(tmp_path / name, seed=seed, **settings)
        begin(arguments)
        pipeline = tiny_pipeline().to(dtype)
        pictures[name, 0] = generate(pipeline, ["a nurse"], [0], **options)[0]
        task = LoraTask(pipeline)

        def validate(folder, step):
            with task.reference():
                pictures[name, "base"] = generate(pipeline, ["a nurse"], [0], **options)[0]
            pictures[name, "policy"] = generate(pipeline, ["a nurse"], [0], **options)[0]

        train(task, Pictures(), arguments, validate=validate)
        return load_file(tmp_path / name / "pytorch_lora_weights.safetensors")

    first, second, other = run("first"), run("second"), run("other", seed=1)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert {tensor.dtype for tensor in first.values()} == {torch.float32}
    assert not any(torch.equal(tensor, other[name]) for name, tensor in first.items())
    assert pictures["first", "base"] == pictures["first", 0] != pictures["first", "policy"]
