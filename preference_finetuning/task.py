"""The training task: pictures with what people said of them in, an objective's loss out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor, nn
from tqdm import tqdm

from diffusion_base.conditioning import CachedPrompts
from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.identity import base_hash, modules_of
from diffusion_base.latents import encode_live
from diffusion_base.noising import Diffusion, Noised, draw_timesteps, noised, per_sample_error, per_sample_generator
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from diffusion_base.training import sharding
from diffusion_base.training.reference import Reference
from diffusion_base.training.task import TrainingTask
from preference_finetuning.lora import ADAPTER
from preference_finetuning.objective import Errors, Objective
from preference_finetuning.readings import Watch, figures

EMA_STEPS = 20  # between two moves of a reference that follows


class PreferenceTask(TrainingTask):
    """Trains the denoiser, or a LoRA on it.

    Args:
        pipeline: the base in float32, frozen.
        objective: a module of `losses`.
        settings: keyword arguments of its loss.
        lora: of `lora.lora_config`; None trains the whole denoiser.
        compare: run the reference also for objectives that need none, for the figures.
        pictured: have a reference for pictures, whoever else needs it.
        reference_momentum: of the reference, which then follows what is trained every 20 steps; None leaves it the
            base.
        timesteps_per_sample: draws of noise and timestep for each sample, over which its errors are means.
        timestep_range: the first timestep that is drawn and the first that is not; None is all.
        snr_gamma: γ of the min-SNR weight on every error.
        prediction_type: what the denoiser predicts; None is the base's own.
        seed: of noise and timesteps.
        live: whether batches hold pixels, which are encoded here.
        frozen_dtype: the precision of what is not trained. A whole denoiser's reference is in float32 even so, and
            what is computed of both is the same: where nothing was trained, rewards are 0.

    Raises:
        UserError: a range of timesteps, or a min-SNR weight, for a base that has neither.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        objective: Objective,
        settings: Mapping[str, Any],
        *,
        lora: LoraConfig | None = None,
        compare: bool = False,
        pictured: bool = False,
        reference_momentum: float | None = None,
        timesteps_per_sample: int = 1,
        timestep_range: tuple[int, int] | None = None,
        snr_gamma: float | None = None,
        prediction_type: str | None = None,
        seed: int = 0,
        live: bool = False,
        frozen_dtype: torch.dtype = torch.float32,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        self.base_hash = base_hash(pipeline)
        self.pipeline, self.family, self.objective, self.settings = pipeline, family_of(pipeline), objective, settings
        self.uses_step_means = objective.TRAITS.step_means
        self.lora, self.momentum, self.seed, self.live = lora, reference_momentum, seed, live
        self.draws, self.snr_gamma = timesteps_per_sample, snr_gamma
        self.process = self.family.forward_process(pipeline, prediction_type)
        self.range = _checked(timestep_range, self.process)
        self.denoiser, self.watch = self.family.denoiser(pipeline), Watch()
        parts = modules_of(pipeline)
        (self.name,) = [name for name, part in parts.items() if part is self.denoiser]
        self.reference: Reference | None = None
        if lora is None:
            if objective.TRAITS.reference or compare or pictured:
                self.reference = Reference(pipeline)  # before anything is cast
            del parts[self.name]
            self.denoiser.float().requires_grad_(True)
        self.frozen = nn.ModuleDict(parts).to(frozen_dtype)
        if lora is not None:
            self.denoiser.add_adapter(lora, ADAPTER)
            self.reference = Reference(pipeline, ADAPTER)
        self.followers = self._followers() if reference_momentum is not None else {}
        self.compare = objective.TRAITS.reference or compare
        self.prompts = CachedPrompts(pipeline)
        if gradient_checkpointing:
            self.denoiser.enable_gradient_checkpointing()

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and figures of B samples of n pictures each, from the items of `Preferences` with step and index."""
        steps, indices, prompts = batch["step"].tolist(), batch["index"].tolist(), batch["prompt"]
        pictures = batch["pictures"].shape[1]
        latents = batch["pictures"].transpose(0, 1).flatten(0, 1)  # (n·B, C, h, w): preferred before dispreferred
        if self.live:
            latents = encode_live(self.pipeline.vae, latents, self.seed, steps * pictures, indices * pictures)
        x = self.noised(latents, steps, indices)  # of k draws: (k·n·B, C, h, w)
        size = batch["size"].transpose(0, 1).flatten(0, 1).repeat(self.draws, 1)
        error = partial(self.error, x, size)

        drift: dict[str, Tensor] = {}
        reference = mismatched = base = None
        if self.compare:
            reference, base = self.of_reference(error, prompts * pictures)
        if "other_prompt" in batch:
            with torch.no_grad():
                theirs, _ = self.of_reference(error, batch["other_prompt"] * pictures)
                mismatched = theirs - error(batch["other_prompt"] * pictures)[0]
        policy, prediction = error(prompts * pictures)
        if base is not None:
            # how far the prediction has moved at all, whichever way
            drift["drift"] = self.of_draws(per_sample_error(prediction.detach(), base))

        preferred = batch["preferred"].bool()
        if pairs := pictures == 2:
            preferred = torch.cat([preferred, ~preferred])
        errors = Errors(policy, preferred, self.mean_over_step, reference, mismatched, batch["reward"].float())
        loss, own = self.objective.loss(errors, **self.settings)
        one_class = self.objective.TRAITS.needs in ("preferred", "scalars")
        return loss, figures(errors, own, pairs=pairs, one_class=one_class) | drift

    def noised(self, latents: Tensor, steps: Sequence[int], indices: Sequence[int]) -> Noised:
        """`timesteps_per_sample` draws, one after the other along the batch; the first is what one draw would be."""
        draws = []
        for draw in range(self.draws):
            seed = per_sample_generator(self.seed, draw, 0, "draw").initial_seed() if draw else self.seed
            timesteps = None
            if self.range is not None:
                timesteps = self.range[0] + draw_timesteps(self.range[1] - self.range[0], seed, steps, indices)
            options: dict[str, Any] = {"seed": seed, "timesteps": timesteps, "snr_gamma": self.snr_gamma}
            draws.append(noised(latents, self.process, steps=steps, indices=indices, **options))
        if len(draws) == 1:
            return draws[0]
        weights = [x.weight for x in draws if x.weight is not None]
        x_t, t, target = (torch.cat([getattr(x, name) for x in draws]) for name in ("x_t", "t", "target"))
        return Noised(x_t, t, target, torch.cat(weights) if weights else None)

    def error(self, x: Noised, size: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """L (n·B,) under the prompts, a mean over the draws, in float32; and the predictions."""
        text = self.prompts(prompts * self.draws)
        prediction = self.family.predict(self.pipeline, x.x_t, x.t, text, size)
        error = per_sample_error(prediction, x.target)
        return self.of_draws(error if x.weight is None else error * x.weight), prediction

    def of_reference(self, error: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """`error` of the reference."""
        assert self.reference is not None
        inside = self._lora_that_follows if self.lora is not None and self.followers else self.reference
        with torch.no_grad(), inside():
            return error(prompts)

    def of_draws(self, values: Tensor) -> Tensor:
        """The mean over the draws: (k·n·B,) → (n·B,)."""
        return values.unflatten(0, (self.draws, -1)).mean(0)

    def read(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """The means, with the margin of the rewards; and a line where both errors rise."""
        if self.watch.rising(means) and process_state().is_main_process:
            tqdm.write(
                f"step {step}: the errors of preferred and of dispreferred pictures are both above the reference's and "
                "rising: the margin may grow while pictures get worse. Lower --learning_rate or raise --beta_dpo; "
                "docs/reading-the-loss.md says more"
            )
        if {"reward_preferred", "reward_dispreferred"} <= means.keys():
            means = means | {"margin": means["reward_preferred"] - means["reward_dispreferred"]}
        return means

    def after_step(self, step: int) -> None:
        """Have the reference follow, where it does."""
        if self.momentum is None or step % EMA_STEPS:
            return
        for name, parameter in self._trained().items():
            self.followers[name].lerp_(sharding.whole(parameter.detach()).float(), 1 - self.momentum)

    def state(self) -> dict[str, Tensor]:
        """Of a reference that follows: where it is, by the names of what it follows."""
        return self.followers

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for name, follower in self.followers.items():
            follower.copy_(tensors[name])

    def save(self, folder: Path) -> None:
        """Write what diffusers opens: the denoiser's folder, or pytorch_lora_weights.safetensors."""
        if self.lora is None:
            self.denoiser.save_pretrained(folder / self.name)
            return
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.denoiser, adapter_name=ADAPTER))
        configuration = self.denoiser.peft_config[ADAPTER].to_dict()
        options = {f"{self.name}_lora_layers": layers, f"{self.name}_lora_adapter_metadata": configuration}
        type(self.pipeline).save_lora_weights(folder, **options)

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.denoiser.named_parameters() if parameter.requires_grad}

    def _followers(self) -> dict[str, Tensor]:
        """The weights of a reference that follows: the copy's own, or a LoRA's beside the one that is trained."""
        assert self.reference is not None
        if self.lora is None:
            return {name: parameter.detach() for name, parameter in self.reference.twin.named_parameters()}
        return {name: parameter.detach().float().clone() for name, parameter in self._trained().items()}

    @contextmanager
    def _lora_that_follows(self) -> Iterator[None]:
        """Inside, the LoRA has the reference's weights."""
        trained = self._trained()
        own = {name: parameter.detach().clone() for name, parameter in trained.items()}
        for name, parameter in trained.items():
            parameter.copy_(sharding.split_like(parameter, self.followers[name]))
        try:
            yield
        finally:
            for name, parameter in trained.items():
                parameter.copy_(own[name])


def _checked(timesteps: tuple[int, int] | None, process: Any) -> tuple[int, int] | None:
    if timesteps is None:
        return None
    if not isinstance(process, Diffusion):
        raise UserError("--timestep_range has no meaning for a base that predicts a flow: leave it out")
    low, high = timesteps
    if not 0 <= low < high <= process.scheduler.config.num_train_timesteps:
        number = process.scheduler.config.num_train_timesteps
        raise UserError(f"--timestep_range {low} {high}: it must be two numbers from 0 to {number}, the lower first")
    return timesteps
