"""The training task: a batch of pairs in, LiVO's loss per pair out. The value encoder alone is trained."""

from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion_base.conditioning import CachedPrompts, prepend_token
from diffusion_base.identity import base_hash
from diffusion_base.latents import encode_live
from diffusion_base.noising import add_noise, draw_noise, draw_timesteps, min_snr_weight, per_sample_error, target
from diffusion_base.pipeline import training_scheduler
from diffusion_base.training.task import TrainingTask
from value_encoder.inference import check_base, value_tokens
from value_encoder.loss import livo_loss


class LiVOTask(TrainingTask):
    """Trains a copy of the base's text encoder so that its token moves denoising towards the aligned pictures.

    Args:
        pipeline: the base in float32, frozen.
        beta, alpha, gamma1, gamma2: as in `livo_loss`.
        snr_gamma: γ of the min-SNR weight, None for no weight.
        noise_offset: times noise that is one number a channel, added to the noise (Guttenberg 2023); 0 for none.
        input_perturbation: times more noise, which the network sees but is not asked for (Ning et al. 2023).
        prediction_type: what the network predicts, "epsilon" or "v_prediction"; None takes the base's own.
        seed: of noise and timesteps.
        live: whether batches hold pixels, which are encoded here, instead of latents.
        frozen_dtype: the precision of everything that is not trained.
        gradient_checkpointing: recompute activations in the backward pass, for less memory.

    Raises:
        UserError: the base is an SDXL one.
    """

    def __init__(
        self,
        pipeline,
        *,
        beta: float,
        alpha: float,
        gamma1: float,
        gamma2: float,
        snr_gamma: float | None = None,
        noise_offset: float = 0.0,
        input_perturbation: float = 0.0,
        prediction_type: str | None = None,
        seed: int = 0,
        live: bool = False,
        frozen_dtype: torch.dtype = torch.float32,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        check_base(pipeline)
        self.base_hash = base_hash(pipeline)
        self.settings = {"beta": beta, "alpha": alpha, "gamma1": gamma1, "gamma2": gamma2}
        self.snr_gamma, self.seed, self.live = snr_gamma, seed, live
        self.noise_offset, self.input_perturbation = noise_offset, input_perturbation
        # copied before the base loses precision
        self.value_encoder = deepcopy(pipeline.text_encoder).float().requires_grad_(True)
        self.tokenizer = pipeline.tokenizer
        self.frozen = nn.ModuleDict(
            {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder, "vae": pipeline.vae}
        ).to(frozen_dtype)
        self.prompts = CachedPrompts(pipeline)
        self.scheduler = training_scheduler(pipeline)
        if prediction_type is not None:
            self.scheduler.register_to_config(prediction_type=prediction_type)
        if gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
            self.value_encoder.activation_checkpointing_enable()

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and diagnostics of B pairs, (B,) each, from the items of `PreferencePairs` with their step and index."""
        steps, indices = batch["step"].tolist(), batch["index"].tolist()
        latents = torch.cat([batch["preferred"], batch["dispreferred"]])  # (2B, C, h, w): one batch for both
        if self.live:
            latents = encode_live(self.frozen["vae"], latents, self.seed, steps * 2, indices * 2)
        noise, added = (n.to(latents.device).repeat(2, 1, 1, 1) for n in self.draw(latents.shape[1:], steps, indices))
        timesteps = draw_timesteps(self.scheduler.config.num_train_timesteps, self.seed, steps, indices)
        timesteps = timesteps.to(latents.device)

        prompt = self.prompts(batch["prompt"]).embeds  # (B, 77, D)
        token = value_tokens(self.value_encoder, self.tokenizer, batch["value"], batch["prompt"])  # (B, D)
        aligned = prepend_token(token, prompt, length=prompt.shape[1])

        noisy = add_noise(self.scheduler, latents, added, timesteps.repeat(2))
        goal = target(self.scheduler, latents, noise, timesteps.repeat(2))
        with torch.no_grad():  # first, so that its activations are gone before the policy's graph is kept
            reference = self.predict(noisy, timesteps, prompt)
        policy = self.predict(noisy, timesteps, aligned)

        weight = None if self.snr_gamma is None else min_snr_weight(self.scheduler, timesteps, self.snr_gamma)
        loss, metrics = livo_loss(
            *per_sample_error(policy, goal).chunk(2),
            *per_sample_error(reference, goal).chunk(2),
            **self.settings,
            weight=weight,
        )
        # how far the token moves the prediction at all, whichever way
        metrics["drift"] = per_sample_error(policy.detach(), reference).unflatten(0, (2, -1)).mean(0)
        return loss, metrics

    def draw(self, shape: torch.Size, steps: list[int], indices: list[int]) -> tuple[Tensor, Tensor]:
        """The noise that the network is asked for, and the one that is added: (B, C, h, w) each, mostly the same."""
        noise = draw_noise(shape, self.seed, steps, indices)
        if self.noise_offset:
            noise = noise + self.noise_offset * draw_noise((shape[0], 1, 1), self.seed, steps, indices, "noise offset")
        if not self.input_perturbation:
            return noise, noise
        return noise, noise + self.input_perturbation * draw_noise(shape, self.seed, steps, indices, "perturbation")

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Tensor) -> Tensor:
        """Both pictures of B pairs in one pass: (2B, C, h, w) from conditioning (B, T, D) and timesteps (B,)."""
        unet = self.frozen["unet"]
        return unet(noisy.to(unet.dtype), timesteps.repeat(2), conditioning.to(unet.dtype).repeat(2, 1, 1)).sample

    def save(self, folder: Path) -> None:
        """Write `value_encoder/`: a CLIPTextModel with its tokenizer, which transformers alone can open."""
        folder = Path(folder) / "value_encoder"
        config = deepcopy(self.value_encoder.config)
        config.base_hash = self.base_hash  # it says by itself which base it belongs to
        config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        # the names with this prefix are those that every version of transformers reads
        state = self.value_encoder.state_dict()
        weights = {f"text_model.{name}": tensor.contiguous() for name, tensor in state.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
