"""The forward process: timesteps, noise, target, weight, per-sample error. Pure: tensors and the scheduler's config.

Randomness is a function of (seed, step, sample), never of history: a resumed run and a run on several processes draw
what one uninterrupted process would.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from diffusion_base.errors import UserError


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


def per_sample_error(prediction: Tensor, target: Tensor) -> Tensor:
    """L (B,): mean over C, H, W of the squared difference, in float32 whatever the precision of the network."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


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

    Raises:
        UserError: the scheduler says that the network predicts something else.
    """

    scheduler: Any

    def __post_init__(self) -> None:
        if self.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(
                f"the base's scheduler says that its network predicts {self.scheduler.config.prediction_type!r}; only"
                " epsilon and v_prediction can be trained (--prediction_type, if it says so wrongly)"
            )

    def draw_timesteps(self, seed: int, steps: Sequence[int] | Tensor, indices: Sequence[int] | Tensor) -> Tensor:
        """(B,), long, uniform."""
        return draw_timesteps(self.scheduler.config.num_train_timesteps, seed, steps, indices)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε"""
        return self.scheduler.add_noise(latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, or the velocity √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho 2022)."""
        if self.scheduler.config.prediction_type == "epsilon":
            return noise
        return self.scheduler.get_velocity(latents, noise, timesteps)

    def snr(self, timesteps: Tensor) -> Tensor:
        """Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), (B,)."""
        alpha_bar = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
        return alpha_bar / (1 - alpha_bar)

    def weight(self, timesteps: Tensor, snr_gamma: float | None = None) -> Tensor | None:
        """The min-SNR weight (Hang et al. 2023, with LiVO's form for the velocity).

        min(snr, γ)/snr for epsilon prediction and that + 1 for velocity; 1 where snr = 0 (a zero terminal SNR).
        """
        if snr_gamma is None:
            return None
        ratio = self.snr(timesteps)
        weight = ratio.clamp(max=snr_gamma) / ratio
        if self.scheduler.config.prediction_type == "v_prediction":
            weight = weight + 1
        return torch.where(ratio == 0, 1.0, weight)


@dataclass(frozen=True)
class Noised:
    """What the network sees of B pictures, and what it is asked for.

    Attributes:
        x_t: (B, C, h, w); t: (B,), as the network is told it.
        target: (B, C, h, w), for `per_sample_error`.
        weight: of that error, (B,); None for no weight.
    """

    x_t: Tensor
    t: Tensor
    target: Tensor
    weight: Tensor | None


def noised(
    latents: Tensor,
    process: ForwardProcess,
    *,
    seed: int,
    steps: Sequence[int],
    indices: Sequence[int],
    timesteps: Tensor | None = None,
    snr_gamma: float | None = None,
    noise_offset: float = 0.0,
    input_perturbation: float = 0.0,
) -> Noised:
    """Noise a batch for training: everything that comes before the network.

    Args:
        latents: x_0 of B samples; or of B samples n pictures each, (n·B, C, h, w), all first ones before all second
            ones: the pictures of a sample (preferred and dispreferred) share its noise and its timestep.
        process: the base's, `family_of(pipeline).forward_process(pipeline)`.
        seed, steps, indices: what everything drawn is a function of; one step and index a sample, (B,).
        timesteps: (B,), instead of drawn ones.
        snr_gamma: γ of the min-SNR weight, None for no weight.
        noise_offset: times noise that is one number a channel, added to the noise (Guttenberg 2023); 0 for none.
        input_perturbation: times more noise, which the network sees but is not asked for (Ning et al. 2023).
    """
    shape, pictures = latents.shape[1:], len(latents) // len(steps)
    noise = draw_noise(shape, seed, steps, indices)
    if noise_offset:
        noise = noise + noise_offset * draw_noise((shape[0], 1, 1), seed, steps, indices, "noise offset")
    added = noise
    if input_perturbation:
        added = noise + input_perturbation * draw_noise(shape, seed, steps, indices, "perturbation")
    noise, added = (each.to(latents.device).repeat(pictures, 1, 1, 1) for each in (noise, added))
    t = process.draw_timesteps(seed, steps, indices) if timesteps is None else timesteps
    t = t.to(latents.device).repeat(pictures)
    return Noised(
        process.add_noise(latents, added, t), t, process.target(latents, noise, t), process.weight(t, snr_gamma)
    )
