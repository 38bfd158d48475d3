"""The forward process: timesteps, noise, target, per-sample error. Pure: tensors and the scheduler's config.

Randomness is a function of (seed, step, sample), never of history: a resumed run and a run on several processes draw
what one uninterrupted process would.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


def per_sample_generator(seed: int, step: int, index: int, stream: str = "noise") -> torch.Generator:
    """A CPU generator that belongs to one sample at one training step.

    Args:
        seed, step, index: the run's seed, the step and the sample's index in the data set.
        stream: names the use, so that e.g. noise and timesteps of one sample are independent.
    """
    # hashed, because any sum or product of the three would give two samples the same draws
    digest = hashlib.sha256(f"{seed} {step} {index} {stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def draw_noise(
    shape: Sequence[int],
    seed: int,
    steps: Sequence[int] | Tensor,
    indices: Sequence[int] | Tensor,
    stream: str = "noise",
) -> Tensor:
    """Unit-variance noise (B, *shape) in float32 on the CPU, one generator a sample and stream."""
    return torch.stack(
        [
            torch.randn(tuple(shape), generator=per_sample_generator(seed, int(step), int(index), stream))
            for step, index in zip(steps, indices, strict=True)
        ]
    )


def draw_timesteps(
    num_train_timesteps: int, seed: int, steps: Sequence[int] | Tensor, indices: Sequence[int] | Tensor
) -> Tensor:
    """Timesteps (B,), long, uniform on [0, num_train_timesteps), one generator a sample."""
    return torch.cat(
        [
            torch.randint(num_train_timesteps, (1,), generator=per_sample_generator(seed, int(s), int(i), "timestep"))
            for s, i in zip(steps, indices, strict=True)
        ]
    )


def add_noise(scheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """x_t (B, C, H, W) = √ᾱ_t x_0 + √(1 − ᾱ_t) ε; timesteps (B,)."""
    return scheduler.add_noise(latents, noise, timesteps)


def target(scheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network is asked to predict: the noise, or the velocity √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho 2022)."""
    match scheduler.config.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return scheduler.get_velocity(latents, noise, timesteps)
        case other:
            raise ValueError(f"prediction_type must be epsilon or v_prediction, not {other}")


def per_sample_error(prediction: Tensor, target: Tensor) -> Tensor:
    """L (B,): mean over C, H, W of the squared difference, in float32 whatever the precision of the network."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def snr(scheduler, timesteps: Tensor) -> Tensor:
    """Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), (B,)."""
    alpha_bar = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    return alpha_bar / (1 - alpha_bar)


def min_snr_weight(scheduler, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weight of each sample's error, (B,) (Hang et al. 2023, with LiVO's form for the velocity).

    min(snr, γ)/snr for epsilon prediction and that + 1 for velocity; 1 where snr = 0 (a zero terminal SNR).
    """
    ratio = snr(scheduler, timesteps)
    weight = ratio.clamp(max=gamma) / ratio
    if scheduler.config.prediction_type == "v_prediction":
        weight = weight + 1
    return torch.where(ratio == 0, 1.0, weight)


class ForwardProcess(Protocol):
    """How pictures are noised in training, and what the network is then asked for; the base's family has its own."""

    def draw_timesteps(self, seed: int, steps: Sequence[int] | Tensor, indices: Sequence[int] | Tensor) -> Tensor:
        """Timesteps (B,) as the network is told them, one generator a sample; on the CPU."""

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t (B, C, H, W)"""

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is asked to predict, (B, C, H, W)."""

    def weight(self, timesteps: Tensor, snr_gamma: float | None = None) -> Tensor | None:
        """Of each sample's error, (B,); None for no weight.

        Raises:
            UserError: a min-SNR weight (γ is given) where there is none.
        """


@dataclass(frozen=True)
class Diffusion:
    """The forward process of a DDPM (Ho et al. 2020), whose network predicts the noise or the velocity.

    Attributes:
        scheduler: a DDPMScheduler.
    """

    scheduler: Any

    def draw_timesteps(self, seed: int, steps: Sequence[int] | Tensor, indices: Sequence[int] | Tensor) -> Tensor:
        return draw_timesteps(self.scheduler.config.num_train_timesteps, seed, steps, indices)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return add_noise(self.scheduler, latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return target(self.scheduler, latents, noise, timesteps)

    def weight(self, timesteps: Tensor, snr_gamma: float | None = None) -> Tensor | None:
        return None if snr_gamma is None else min_snr_weight(self.scheduler, timesteps, snr_gamma)
