"""The training task: a batch of pairs in, LiVO's loss per pair out. The value encoder alone is trained."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion_base.conditioning import CachedPrompts, PromptEmbeddings, prepend_token
from diffusion_base.families import family_of
from diffusion_base.identity import base_hash
from diffusion_base.latents import encode_live
from diffusion_base.noising import Noised, noised, per_sample_error
from diffusion_base.pipeline import Pipeline
from diffusion_base.training.task import TrainingTask
from value_encoder.inference import check_base, value_tokens
from value_encoder.loss import livo_loss


class LiVOTask(TrainingTask):
    """Trains a copy of the base's text encoder so that its token moves denoising towards the preferred pictures.

    Args:
        pipeline: the base in float32, frozen.
        beta, alpha, gamma1, gamma2: as in `livo_loss`.
        snr_gamma, noise_offset, input_perturbation: as in `noised`.
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
        pipeline: Pipeline,
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
        self.noising: dict[str, Any] = {
            "snr_gamma": snr_gamma,
            "noise_offset": noise_offset,
            "input_perturbation": input_perturbation,
        }
        self.pipeline, self.seed, self.live = pipeline, seed, live
        # copied before the base loses precision
        self.value_encoder = deepcopy(pipeline.text_encoder).float().requires_grad_(True)
        self.tokenizer = pipeline.tokenizer
        self.frozen = nn.ModuleDict(
            {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder, "vae": pipeline.vae}
        ).to(frozen_dtype)
        self.prompts = CachedPrompts(pipeline)
        self.process = family_of(pipeline).forward_process(pipeline, prediction_type)
        if gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
            self.value_encoder.activation_checkpointing_enable()

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and diagnostics of B pairs, (B,) each, from the items of `PreferencePairs` with their step and index."""
        steps, indices = batch["step"].tolist(), batch["index"].tolist()
        latents = torch.cat([batch["preferred"], batch["dispreferred"]])  # (2B, C, h, w): one batch for both
        if self.live:
            latents = encode_live(self.frozen["vae"], latents, self.seed, steps * 2, indices * 2)
        x = noised(latents, self.process, seed=self.seed, steps=steps, indices=indices, **self.noising)

        prompt = self.prompts(batch["prompt"]).embeds  # (B, 77, D)
        token = value_tokens(self.value_encoder, self.tokenizer, batch["value"], batch["prompt"])  # (B, D)
        with_token = prepend_token(token, prompt, length=prompt.shape[1])

        with torch.no_grad():  # first, so that its activations are gone before the policy's graph is kept
            reference = self.predict(x, prompt)
        policy = self.predict(x, with_token)

        loss, metrics = livo_loss(
            *per_sample_error(policy, x.target).chunk(2),
            *per_sample_error(reference, x.target).chunk(2),
            **self.settings,
            weight=None if x.weight is None else x.weight.chunk(2)[0],
        )
        # how far the token moves the prediction at all, whichever way
        metrics["drift"] = per_sample_error(policy.detach(), reference).unflatten(0, (2, -1)).mean(0)
        return loss, metrics

    def predict(self, x: Noised, conditioning: Tensor) -> Tensor:
        """Both pictures of B pairs in one pass: (2B, C, h, w) from conditioning (B, T, D)."""
        text = PromptEmbeddings(conditioning.repeat(2, 1, 1))
        return family_of(self.pipeline).predict(self.pipeline, x.x_t, x.t, text)

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
