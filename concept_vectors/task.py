"""The training task: a batch of pictures in, the loss of each out. The vectors alone are trained."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from concept_vectors.bottleneck import added_to_mid_block
from concept_vectors.loss import concept_loss
from concept_vectors.vectors import FILE, ConceptVectors, mid_block_shape, unet_of
from diffusion_base.conditioning import CachedPrompts
from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.identity import base_hash
from diffusion_base.latents import encode_live
from diffusion_base.noising import Noised, noised, per_sample_error
from diffusion_base.pipeline import Pipeline
from diffusion_base.training.task import TrainingTask


class ConceptTask(TrainingTask):
    """Learns a vector a concept, so that h + c makes the pictures that show it likely under a prompt without it.

    Everything else is frozen, so automatic differentiation begins at the mid block: the way down, the mid block itself
    and the text encoder leave no graph behind.

    Args:
        pipeline: the base in float32, frozen.
        concepts: their names, in the order of the data's columns.
        per_channel: learn one number a channel, for any picture size, instead of the mid block's full shape.
        snr_gamma: γ of the min-SNR weight, None for no weight.
        seed: of noise and timesteps.
        resolution: of the pictures in pixels; None is the base's own.
        live: whether batches hold pixels, which are encoded here, instead of latents.
        facts: of the training, JSON, to be saved with the vectors.
        frozen_dtype: the precision of everything that is not trained.
        gradient_checkpointing: recompute activations in the backward pass, for less memory.

    Raises:
        UserError: a resolution that is not the base's own, for vectors of the full shape.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        concepts: list[str],
        *,
        per_channel: bool = False,
        snr_gamma: float | None = None,
        seed: int = 0,
        resolution: int | None = None,
        live: bool = False,
        facts: dict[str, Any] | None = None,
        frozen_dtype: torch.dtype = torch.float32,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        self.base_hash = base_hash(pipeline)
        self.concepts, self.facts = concepts, facts or {}
        self.per_channel, self.snr_gamma, self.seed, self.live = per_channel, snr_gamma, seed, live
        channels, h, w = mid_block_shape(unet_of(pipeline))
        size = picture_size(pipeline, resolution, per_channel)
        shape = (channels, 1, 1) if per_channel else (channels, h, w)
        self.vectors = nn.Parameter(torch.zeros(len(concepts), *shape))  # (K, C, h, w): at zero it is the base
        self.cross_attention_dim = pipeline.unet.config.cross_attention_dim
        self.frozen = nn.ModuleDict({n: m for n, m in pipeline.components.items() if isinstance(m, nn.Module)})
        self.frozen.to(frozen_dtype)
        self.prompts = CachedPrompts(pipeline)
        self.process = family_of(pipeline).forward_process(pipeline)
        self.pipeline, self.size = pipeline, (size, size)
        if gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and diagnostics of B pictures, (B,) each, from the items of `ConceptPictures` with step and index."""
        steps, indices = batch["step"].tolist(), batch["index"].tolist()
        latents = batch["picture"]  # (B, C, h, w)
        if self.live:
            latents = encode_live(self.frozen["vae"], latents, self.seed, steps, indices)
        x = noised(latents, self.process, seed=self.seed, steps=steps, indices=indices, snr_gamma=self.snr_gamma)

        shift = torch.tensordot(batch["concepts"].to(self.vectors), self.vectors, dims=1)  # (B, C, h, w)
        hidden: list[Tensor] = []

        def addition(own: Tensor) -> Tensor:
            hidden.append(own)
            return shift.to(own.dtype)

        with added_to_mid_block(self.frozen["unet"], addition):
            prediction = self.predict(x, batch["prompt"])
        return concept_loss(per_sample_error(prediction, x.target), shift, hidden[0], weight=x.weight)

    def predict(self, x: Noised, prompts: list[str]) -> Tensor:
        """(B, C, h, w)"""
        return family_of(self.pipeline).predict(self.pipeline, x.x_t, x.t, self.prompts(prompts), self.size)

    def learned(self) -> ConceptVectors:
        """The vectors as they are now."""
        flat = self.vectors.detach()
        flat = flat[:, :, 0, 0] if self.per_channel else flat
        tensors = dict(zip(self.concepts, flat.clone(), strict=True))
        return ConceptVectors(tensors, self.base_hash, self.cross_attention_dim, self.facts)

    def save(self, folder: Path) -> None:
        """Write `concept_vectors.safetensors`."""
        self.learned().save(Path(folder) / FILE)


def picture_size(pipeline: Pipeline, resolution: int | None, per_channel: bool) -> int:
    """Pixels of the pictures' sides; None for `resolution` is the base's own.

    Raises:
        UserError: not the base's own, for vectors of the full shape.
    """
    own_size = unet_of(pipeline).config.sample_size * pipeline.vae_scale_factor
    size = own_size if resolution is None else resolution
    if size != own_size and not per_channel:
        raise UserError(
            f"--resolution {size}: a vector of the mid block's full shape belongs to this base's own {own_size} "
            "pixels; leave it out, or learn --per_channel vectors"
        )
    return size
