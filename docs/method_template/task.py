"""What is trained: a batch in, each pair's loss out."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion_base.conditioning import CachedPrompts
from diffusion_base.families import Pipeline, family_of
from diffusion_base.identity import base_hash, modules_of
from diffusion_base.noising import noised, per_sample_error
from diffusion_base.training.reference import Reference
from diffusion_base.training.task import TrainingTask
from my_method.inference import FILE, NAME
from my_method.loss import dpo_loss


class LoraTask(TrainingTask):
    def __init__(self, pipeline: Pipeline, *, rank: int, beta: float, seed: int, frozen_dtype: torch.dtype):
        super().__init__()
        self.base_hash = base_hash(pipeline)  # before anything is cast or added
        self.pipeline, self.family, self.beta, self.seed = pipeline, family_of(pipeline), beta, seed
        self.parts = nn.ModuleDict(modules_of(pipeline)).to(frozen_dtype)
        self.denoiser = self.family.denoiser(pipeline)
        lora = LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
        self.denoiser.add_adapter(lora, NAME)
        self.reference, self.prompts = Reference(pipeline, NAME), CachedPrompts(pipeline)

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        latents = torch.cat([batch["preferred"], batch["dispreferred"]])  # (2B, C, h, w); a pair shares its noise
        drawn_from = {"seed": self.seed, "steps": batch["step"].tolist(), "indices": batch["index"].tolist()}
        x = noised(latents, self.family.forward_process(self.pipeline), **drawn_from)
        text = self.prompts(batch["prompt"] * 2)
        with torch.no_grad(), self.reference():
            reference = per_sample_error(self.family.predict(self.pipeline, x.x_t, x.t, text), x.target)
        policy = per_sample_error(self.family.predict(self.pipeline, x.x_t, x.t, text), x.target)
        return dpo_loss(policy, reference, self.beta)

    def save(self, folder: Path) -> None:
        tensors = get_peft_model_state_dict(self.denoiser, adapter_name=NAME)
        save_file(tensors, Path(folder) / FILE, metadata={"base_hash": self.base_hash})
