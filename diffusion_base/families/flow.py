"""Rectified flow: straight lines from a picture to noise (Liu et al. 2023), trained as in Esser et al. 2024."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.noising import per_sample_generator


@dataclass(frozen=True)
class RectifiedFlow:
    """x_σ = (1 − σ) x_0 + σ ε, and the velocity ε − x_0 along it; a timestep is σ times num_train_timesteps.

    Timesteps are drawn logit-normal (u = sigmoid(z), z ~ N(0, 1)), which takes the place of a weight, and shifted to
    more noise as the scheduler's configuration says: diffusers' train_dreambooth_lora_sd3 by its defaults.

    Attributes:
        scheduler: a FlowMatchEulerDiscreteScheduler that has not sampled.
    """

    scheduler: Any

    def draw_timesteps(self, seed: int, steps: Sequence[int] | Tensor, indices: Sequence[int] | Tensor) -> Tensor:
        """(B,), float32, one generator a sample."""
        z = torch.cat(
            [
                torch.randn(1, generator=per_sample_generator(seed, int(s), int(i), "timestep"))
                for s, i in zip(steps, indices, strict=True)
            ]
        )
        return self.timesteps_at(z.sigmoid())

    def timesteps_at(self, u: Tensor) -> Tensor:
        """The timesteps (B,) at shares u in [0, 1) of the schedule, which runs from noise to picture."""
        return self.scheduler.timesteps[(u * self.scheduler.config.num_train_timesteps).long()]

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_σ (B, C, H, W)"""
        sigma = (timesteps / self.scheduler.config.num_train_timesteps).to(latents)[:, None, None, None]
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v (B, C, H, W) = ε − x_0, at every timestep."""
        return noise - latents

    def weight(self, timesteps: Tensor, snr_gamma: float | None = None) -> None:
        """None: the distribution of the timesteps is the weight.

        Raises:
            UserError: a min-SNR weight is asked for.
        """
        if snr_gamma is not None:
            raise UserError("--snr_gamma has no meaning for a base that predicts a flow: leave it out")
